//! Other people's proxies: HAProxy and nginx, in front of tidegate or behind it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::clock::eventually;
use crate::ports::free_address;
use crate::scratch::Scratch;
use crate::tools::Tool;

/// A running proxy. It is killed on drop.
#[derive(Debug)]
pub struct PeerProxy {
    _child: Child,
    address: SocketAddr,
    _directory: Scratch,
}

impl PeerProxy {
    /// HAProxy in HTTP mode (`tcp`: in TCP mode) with this one server line behind `server s`, and more options of its
    /// `bind` line; `None` when it cannot be had, which has then been said.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn haproxy(mode: &str, bind: &str, server: &str) -> Option<Self> {
        let program = Tool::Haproxy.need()?;
        let (directory, address) = (Scratch::new("haproxy"), free_address());
        let config = format!(
            "defaults\n mode {mode}\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n timeout tunnel 1h\n\
             frontend f\n bind {address} {bind}\n default_backend b\nbackend b\n server s {server}\n"
        );
        let file = directory.join("haproxy.cfg");
        fs::write(&file, config).expect("the configuration is written");
        Some(Self::start(Command::new(program).arg("-db").arg("-f").arg(file), address, directory).await)
    }

    /// nginx with these directives in its only `server`, and more options of its `listen` line; as
    /// [`haproxy`](Self::haproxy).
    ///
    /// # Panics
    /// When it does not start.
    pub async fn nginx(listen: &str, server: &str) -> Option<Self> {
        let (directory, address) = (Scratch::new("nginx"), free_address());
        let temporary = |what: &str| format!("{what}_temp_path {};\n", directory.join(what).display());
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(temporary).concat();
        let config = format!(
            "http {{\naccess_log off;\n{paths}\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
             server {{\nlisten {address} {listen};\n{server}\n}}\n}}\n",
        );
        Self::start_nginx(&config, address, directory).await
    }

    /// nginx that passes bytes on, with these directives in its only `server`; as [`haproxy`](Self::haproxy).
    ///
    /// # Panics
    /// When it does not start.
    pub async fn nginx_stream(server: &str) -> Option<Self> {
        let module = Tool::NginxStream.need()?;
        let (directory, address) = (Scratch::new("nginx"), free_address());
        let config =
            format!("load_module {};\nstream {{\nserver {{\nlisten {address};\n{server}\n}}\n}}\n", module.display());
        Self::start_nginx(&config, address, directory).await
    }

    async fn start_nginx(config: &str, address: SocketAddr, directory: Scratch) -> Option<Self> {
        let program = Tool::Nginx.need()?;
        let (pid, log) = (directory.join("pid"), directory.join("error.log"));
        let config = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log {};\n{config}events {{}}\n",
            pid.display(),
            log.display()
        );
        let file = directory.join("nginx.conf");
        fs::write(&file, config).expect("the configuration is written");
        let mut command = Command::new(program);
        command.arg("-p").arg(directory.path()).arg("-c").arg(file).arg("-e").arg(log);
        Some(Self::start(&mut command, address, directory).await)
    }

    /// The directives that pass everything to `upstream`, WebSockets too, and say who the client is.
    #[must_use]
    pub fn nginx_pass(upstream: SocketAddr) -> String {
        format!(
            "location / {{\nproxy_pass http://{upstream};\nproxy_http_version 1.1;\n\
             proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $connection_upgrade;\n\
             proxy_set_header Host $http_host;\nproxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
             proxy_set_header X-Forwarded-Proto $scheme;\nproxy_read_timeout 1h;\n}}"
        )
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    async fn start(command: &mut Command, address: SocketAddr, directory: Scratch) -> Self {
        let log = fs::File::create(directory.join("log")).expect("a file for the log");
        let output = log.try_clone().expect("a second handle");
        let command = command.stdin(Stdio::null()).stdout(output).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        eventually("a proxy to listen", async || {
            let ended = child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{ended:?}: {}", said(&directory.join("log")));
            TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
        Self { _child: child, address, _directory: directory }
    }
}

fn said(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}
