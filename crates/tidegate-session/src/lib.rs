//! One proxied WebSocket session without its bytes: two legs, their deadlines, why it ended, and what each side
//! is told.
//!
//! Pure: what happened goes into [`Session`] as method calls with the time, what is to be done comes out of
//! [`Session::poll_output`]. Sockets, buffers and frames belong to the caller.

pub mod contract;
mod end;
mod leg;
mod output;
mod policy;
mod record;
mod reference;
mod session;
mod words;

pub use end::{End, Loss, Refused, Side, Silence, Told};
pub use leg::Input;
pub use output::{Hold, Order, Output, Parting, Pass};
pub use policy::{Farewell, LateReply, Policy};
pub use record::{Closing, LegEnd, LegRecord, Premature, Record, Verdict};
pub use reference::reference_markdown;
pub use session::Session;
pub use tidegate_wire::{CloseCode, CloseFrame, Violation};
pub use words::{Detail, Words};
