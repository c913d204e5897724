//! Whether what one side of a connection sent is RFC 6455, to the letter.

use super::frame::{Frame, Header, RSV1, opcode};

/// Which side's frames are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Must mask.
    Client,
    /// Must not mask.
    Server,
}

/// Watches one direction of one connection.
#[derive(Debug)]
pub(super) struct Judge {
    sender: Sender,
    /// permessage-deflate was negotiated, so that RSV1 may stand on a message's first frame.
    deflate: bool,
    inside_message: bool,
    close_seen: bool,
}

impl Judge {
    pub(super) fn new(sender: Sender, deflate: bool) -> Self {
        Self { sender, deflate, inside_message: false, close_seen: false }
    }

    /// Judges a header as soon as it is there, before its payload.
    pub(super) fn check(&self, header: &Header) -> Result<(), String> {
        let broken = |rule: &str| Err(format!("{:?} broke RFC 6455: {rule}: {header:?}", self.sender));
        let first_of_data = !header.is_control() && header.opcode != opcode::CONTINUATION;
        if self.close_seen {
            return broken("5.5.1: nothing follows a Close");
        }
        if header.mask.is_some() != (self.sender == Sender::Client) {
            return broken("5.1: a client masks, a server does not");
        }
        if header.odd_length {
            return broken("5.2: the minimal number of bytes encodes a length");
        }
        if header.rsv & !RSV1 != 0 || header.rsv == RSV1 && !(self.deflate && first_of_data) {
            return broken("5.2: a reserved bit no extension has given a meaning");
        }
        match header.opcode {
            opcode::CONTINUATION if !self.inside_message => broken("5.4: a continuation of nothing"),
            opcode::TEXT | opcode::BINARY if self.inside_message => broken("5.4: a message inside a message"),
            opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => Ok(()),
            opcode::CLOSE | opcode::PING | opcode::PONG if !header.fin => broken("5.5: a fragmented control frame"),
            opcode::CLOSE | opcode::PING | opcode::PONG if header.payload_length > 125 => {
                broken("5.5: a control frame over 125 bytes")
            }
            opcode::CLOSE | opcode::PING | opcode::PONG => Ok(()),
            _ => broken("5.2: a reserved opcode"),
        }
    }

    /// Takes note of a frame whose header was found good, and judges its payload.
    pub(super) fn admit(&mut self, frame: &Frame) -> Result<(), String> {
        if frame.opcode == opcode::CLOSE {
            self.close_seen = true;
            return check_close(&frame.payload).map_err(|rule| format!("{:?} broke RFC 6455: {rule}", self.sender));
        }
        if !frame.is_control() {
            self.inside_message = !frame.fin;
        }
        Ok(())
    }
}

/// Section 5.5.1 and 7.4, and the codes that IANA registered since.
fn check_close(payload: &[u8]) -> Result<(), String> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(()) } else { Err("5.5.1: a Close of one byte".to_owned()) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(format!("7.4: {code} must not stand in a Close"));
    }
    std::str::from_utf8(reason).map_err(|_| format!("5.5.1: the reason of {code} is not UTF-8"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::frame::MASK;
    use super::*;

    /// Judges frames that a server sent, one after another; gives the first verdict that is bad.
    fn judge(deflate: bool, frames: &[Vec<u8>]) -> Result<(), String> {
        let mut judge = Judge::new(Sender::Server, deflate);
        for bytes in frames {
            let header = Header::decode(bytes).expect("a header");
            judge.check(&header)?;
            judge.admit(&header.frame(bytes).expect("a whole frame").0)?;
        }
        Ok(())
    }

    #[test]
    fn lawful_frames_pass() {
        let compressed = Frame::text("x").with_rsv(RSV1).unfinished();
        let frames = [
            compressed,
            Frame::new(opcode::PING, "between"),
            Frame::new(opcode::CONTINUATION, ""),
            Frame::close(4001, "bye"),
        ];
        assert_eq!(judge(true, &frames.map(|frame| frame.encode(None))), Ok(()));
    }

    #[test]
    fn every_breach_is_found() {
        let text = Frame::text("x");
        let breaches: [(&str, Vec<Frame>); 11] = [
            ("after Close", vec![Frame::empty_close(), text.clone()]),
            ("second Close", vec![Frame::empty_close(), Frame::empty_close()]),
            ("rsv1 without deflate", vec![text.clone().with_rsv(0b100)]),
            ("rsv2", vec![text.clone().with_rsv(0b010)]),
            ("reserved opcode", vec![Frame::new(0x3, "")]),
            ("reserved control", vec![Frame::new(0xB, "")]),
            ("lone continuation", vec![Frame::new(opcode::CONTINUATION, "")]),
            ("nested message", vec![text.clone().unfinished(), text.clone()]),
            ("long ping", vec![Frame::new(opcode::PING, vec![0; 126])]),
            ("reserved code", vec![Frame::close(1006, "")]),
            ("short close", vec![Frame::new(opcode::CLOSE, [3])]),
        ];
        for (name, frames) in breaches {
            let bytes: Vec<_> = frames.iter().map(|frame| frame.encode(None)).collect();
            assert!(judge(false, &bytes).is_err(), "{name}");
        }
        assert!(judge(false, &[text.encode(Some(MASK))]).is_err(), "masked by a server");
    }
}
