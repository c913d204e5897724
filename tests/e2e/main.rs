//! End to end: tidegate as a process, real sockets, and peers that judge every byte.

mod browser;
mod churn;
mod clean_closes;
mod command_line;
mod data_path;
mod demo;
mod documented_clients;
mod drain;
mod ecosystems;
mod fairness;
mod floods;
mod handover;
mod handshake;
mod keepalive;
mod lost_peers;
mod observability;
mod overload;
mod real_clients;
mod reload;
mod service_manager;
mod session;
mod tls;
mod unanswered_closes;
mod upstream_answers;
mod violations;
mod without_proxy;
