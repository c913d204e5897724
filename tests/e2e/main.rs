//! End to end: tidegate as a process, real sockets, and peers that judge every byte.

mod browser;
mod clean_closes;
mod command_line;
mod data_path;
mod demo;
mod drain;
mod ecosystems;
mod handshake;
mod keepalive;
mod lost_peers;
mod observability;
mod overload;
mod reload;
mod session;
mod unanswered_closes;
mod violations;
mod without_proxy;
