//! Our header parser and tungstenite's agree on every header that both of them take.

use std::io::Cursor;

use proptest::prelude::*;
use tidegate_wire::{FrameHeader, Opcode, Violation};
use tungstenite::protocol::frame::{
    FrameHeader as Theirs,
    coding::{Control, Data, OpCode},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_are_the_same_header_to_both(bytes in any_header()) {
        let ours = FrameHeader::parse(&bytes);
        let mut cursor = Cursor::new(&bytes);
        let theirs = Theirs::parse(&mut cursor);
        match (ours, theirs) {
            (Ok(Some((ours, size))), Ok(Some((theirs, len)))) => {
                prop_assert_eq!(size as u64, cursor.position());
                prop_assert_eq!(ours.len, len);
                prop_assert_eq!((ours.fin, ours.rsv1), (theirs.is_final, theirs.rsv1));
                prop_assert_eq!(code(ours.opcode), theirs.opcode);
                prop_assert_eq!(ours.mask.map(|mask| mask.key()), theirs.mask);
                prop_assert!(!theirs.rsv2 && !theirs.rsv3);
            }
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
            // They judge these later, with the frame; we by its header.
            (Err(Violation::Rsv | Violation::Control | Violation::Length), Ok(_)) => {}
            // We judge by the first byte already.
            (Err(Violation::Opcode), _) => {}
            (ours, theirs) => prop_assert!(false, "{:?} and {:?} of {:02x?}", ours, theirs, bytes),
        }
    }
}

/// Headers of every kind, whole and cut, most of them legal.
fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![4 => proptest::sample::select(vec![0x81u8, 0x01, 0x82, 0x80, 0x00, 0x88, 0x89, 0x8a, 0xc1]), 1 => any::<u8>()];
    let length = prop_oneof![
        (0u64..=125).prop_map(|len| vec![len as u8]),
        (0u16..).prop_map(|len| [&[126][..], &len.to_be_bytes()].concat()),
        any::<u64>().prop_map(|len| [&[127][..], &len.to_be_bytes()].concat()),
    ];
    (first, length, any::<Option<[u8; 4]>>(), 0usize..=14).prop_map(|(first, mut length, key, cut)| {
        length[0] |= u8::from(key.is_some()) << 7;
        let mut bytes = [&[first][..], &length, &key.unwrap_or_default()[..]].concat();
        bytes.truncate(cut.max(bytes.len() / 2));
        bytes
    })
}

fn code(opcode: Opcode) -> OpCode {
    match opcode {
        Opcode::Continuation => OpCode::Data(Data::Continue),
        Opcode::Text => OpCode::Data(Data::Text),
        Opcode::Binary => OpCode::Data(Data::Binary),
        Opcode::Close => OpCode::Control(Control::Close),
        Opcode::Ping => OpCode::Control(Control::Ping),
        Opcode::Pong => OpCode::Control(Control::Pong),
    }
}
