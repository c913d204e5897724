//! Any payload of a Close is refused, or comes back as it was.

use tidegate_wire::{CloseCode, CloseFrame};

pub(crate) fn run(data: &[u8]) {
    let payload = &data[..data.len().min(125)];
    let Ok(close) = CloseFrame::parse(payload) else {
        let legal = |code| CloseCode(code).is_sendable();
        let refusable = match payload {
            [] => false,
            [_] => true,
            [high, low, reason @ ..] => {
                !legal(u16::from_be_bytes([*high, *low])) || std::str::from_utf8(reason).is_err()
            }
        };
        assert!(refusable, "{payload:02x?}");
        return;
    };
    assert!(close.code().is_none_or(CloseCode::is_sendable));
    let mut out = [0; 125];
    let len = close.write(&mut out);
    assert_eq!(&out[..len], payload);
    if let Some(code) = close.code() {
        assert_eq!(CloseFrame::with(code, close.reason()), close);
    }
}
