//! Text to a valid [`Config`], what a new one changes, and the live one.
//!
//! Pure: nothing here opens a file or a socket, and the same text always gives the same answer.
//!
//! The file's keys are defined once, in `sections.rs`: what reads them, what suggests them and what documents them all
//! look there.

mod addresses;
mod change;
mod choices;
mod config;
mod convert;
mod docs;
mod errors;
mod file;
mod keys;
mod live;
mod names;
mod parse;
mod pools;
mod reader;
mod route;
mod sections;
mod sharing;
mod suggest;
mod trust;
mod units;

pub use change::{Change, Fate};
pub use config::*;
pub use docs::{example_toml, reference_markdown};
pub use errors::{Errors, Mistake};
pub use file::{Fault, FilePath, Place};
pub use live::{Generation, Live};
pub use parse::{MAX_FILE_SIZE, parse};
pub use pools::*;
pub use route::{covers, is_hop_by_hop, without_port};
pub use sharing::*;
