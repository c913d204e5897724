//! What the comparisons share: nginx, HAProxy and tidegate, found, set up for one worker, started and ended; the clock;
//! and the pages that get the tables.

pub mod clock;
pub mod configs;
mod contender;
pub mod descriptors;
mod place;
pub mod process;
pub mod processors;
mod rig;

pub use contender::Contender;
pub use place::{Place, free_address};
pub use process::Process;
pub use rig::Rig;
