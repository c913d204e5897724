//! The bytes of RFC 6455, and nothing else: no sockets, no clock, no allocation.
//!
//! [`Scanner`] walks one direction of a WebSocket connection as it arrives and says what may leave: whole
//! frames as they came, or complete fragments of a frame too large for the buffer. Whoever forwards what it
//! releases is at a frame boundary after every write, so that a Close can always be said.

mod close;
mod header;
mod limits;
mod mask;
mod scanner;
mod tally;
mod utf8;
mod violation;

pub use close::{BadClose, CloseCode, CloseFrame, MAX_REASON};
pub use header::{FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode, encode_control};
pub use limits::Limits;
pub use mask::Mask;
pub use scanner::{Control, Fragment, Scanner, Sender, Step};
pub use tally::Tally;
pub use utf8::Utf8;
pub use violation::Violation;
