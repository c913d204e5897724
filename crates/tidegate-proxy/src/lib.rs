//! tidegate's sockets: accept, TLS, HTTP, upgrade, splice, upstreams, drain, reload, metrics and logs.
//!
//! [`Server`] is the whole of it. What a session's ends are told is decided in `tidegate-session`, who may enter in
//! `tidegate-governor`, what bytes may leave in `tidegate-wire`; here it is carried out.

mod accept;
mod access;
mod addresses;
mod admin;
mod affinity;
mod alarm;
mod announced;
mod auth;
mod body;
mod buffer;
mod capacity;
mod chores;
mod clock;
mod command;
mod counters;
mod digits;
mod endpoint;
mod files;
mod finder;
mod flow;
mod forwarded;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod head;
mod health;
mod http;
mod http2;
mod inherited;
mod ladder;
mod leg;
mod low_mark;
mod manners;
mod members;
mod meter;
pub mod metrics;
mod overload;
mod pacing;
mod patient;
mod pipe;
mod plain;
mod pool;
mod probe;
mod proxy_protocol;
mod random;
mod registry;
mod report;
mod request;
mod resolve;
mod server;
mod session;
mod shared;
mod splice;
mod standing;
mod strain;
mod stream;
mod task;
mod tls;
mod traffic;
mod upload;
mod upstream;
mod vitals;
mod worker;

pub use command::{Command, Outcome, Verb};
pub use files::check as check_files;
use random::random;
pub use server::{Drained, Server};
