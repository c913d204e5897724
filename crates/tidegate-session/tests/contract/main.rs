//! The close contract, row by row: what happens to a session, and what each side is told of it.
//!
//! `S1`, `C3`, `D7` and so on are the rows of the contract. Rows come in pairs where the two sides mirror each other.

mod driver;
mod endpoints_close;
mod enforced;
mod keepalive;
mod lost;
mod unanswered;
mod violations;
