//! What frames and messages may be.

/// Bounds on one direction of a session. All of them are decided by frame headers, before a payload is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, bytes on the wire (a compressed one counts as it came). Default 64 MiB.
    pub max_message_size: u64,
    /// Most frames of one message. Default 131,072: twice what the Autobahn suite sends.
    pub max_fragments: u32,
    /// Whether uncompressed text must be UTF-8 (RFC 6455 section 8.1). Default true.
    pub validate_utf8: bool,
    /// Data frames a second that a client may send. `None`: unlimited, the default.
    pub frame_rate: Option<u32>,
    /// Control frames a second that either end may send. Default 100. `None`: unlimited.
    pub control_rate: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 64 << 20,
            max_fragments: 131_072,
            validate_utf8: true,
            frame_rate: None,
            control_rate: Some(100),
        }
    }
}
