//! Messages too large to hold: their bytes follow from their position.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{Frame, apply_mask};
use super::inbound::{Event, Inbound};
use crate::clock::within;

/// Writes a binary message of one frame.
pub(super) async fn send(io: &mut (impl AsyncWrite + Unpin), mask: Option<[u8; 4]>, length: u64) {
    let header = Frame::binary([]).encode_header(length, mask);
    let mut piece = piece();
    if let Some(key) = mask {
        apply_mask(&mut piece, key);
    }
    let sending = async {
        io.write_all(&header).await?;
        let mut left = length;
        while left > 0 {
            let part = left.min(piece.len() as u64);
            io.write_all(&piece[..part as usize]).await?;
            left -= part;
        }
        io.flush().await
    };
    within("room to send a large message", sending).await.expect("the other side takes our bytes");
}

/// Receives such a message, in however many fragments.
pub(super) async fn expect(io: &mut (impl AsyncRead + Unpin), inbound: &mut Inbound, length: u64) {
    let piece = piece();
    let receiving = async {
        let mut offset = 0;
        loop {
            let frame = match inbound.event(io).await {
                Event::Frame(frame) => frame,
                Event::End(ending) => panic!("the transport ended after {offset} bytes: {ending:?}"),
            };
            if frame.is_control() {
                continue;
            }
            let mut rest = &frame.payload[..];
            while !rest.is_empty() {
                let start = offset % piece.len();
                let part = rest.len().min(piece.len() - start);
                assert!(rest[..part] == piece[start..start + part], "the message is wrong after byte {offset}");
                rest = &rest[part..];
                offset += part;
            }
            if frame.fin {
                assert_eq!(offset as u64, length);
                return;
            }
        }
    };
    within("a large message", receiving).await;
}

/// What repeats. Its length is a multiple of four, so that every repetition is masked alike, and not of 4096, so that
/// a lost or doubled buffer shows.
fn piece() -> Vec<u8> {
    (0..65_532_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
