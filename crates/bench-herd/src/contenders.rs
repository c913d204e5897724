//! The proxies, and how each is set up: as well as its makers' documentation lets one who knows the capacity.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bench_herd::{clock, raise_descriptors, server::free_address};
use rustix::process::{Pid, Signal, kill_process};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Nginx,
    /// Told the capacity: sessions bounded, a queue, slow start, and no more new connections a second than the servers
    /// can take when they are well.
    Haproxy,
    /// Told the addresses.
    Tidegate,
}

/// Where the programs are.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Programs {
    /// A release build of tidegate.
    #[arg(long)]
    tidegate: PathBuf,
    #[arg(long)]
    nginx: PathBuf,
    #[arg(long)]
    haproxy: PathBuf,
}

/// What a configuration is filled with.
pub(crate) struct Stage {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) bystanders: SocketAddr,
    /// Sessions that a server can have, as far as HAProxy is told.
    pub(crate) most_sessions: usize,
    /// Handshakes per second of all servers, where that is what bounds them.
    pub(crate) rate: Option<f64>,
    pub(crate) warm_after: Duration,
}

/// A running proxy; ended on drop.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Contender {
    pub(crate) const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Tidegate];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Tidegate => "tidegate",
        }
    }

    fn program(self, programs: &Programs) -> &Path {
        match self {
            Self::Nginx => &programs.nginx,
            Self::Haproxy => &programs.haproxy,
            Self::Tidegate => &programs.tidegate,
        }
    }

    /// Starts it and waits until it takes connections.
    pub(crate) fn start(self, programs: &Programs, scratch: &Path, stage: &Stage) -> Result<Running, String> {
        let directory = scratch.join(self.name());
        let prepare = || {
            // What an earlier one left.
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory)?;
            free_address()
        };
        let address = prepare().map_err(|error| format!("{}: {error}", directory.display()))?;
        let text = match self {
            Self::Nginx => nginx(stage, &directory, address),
            Self::Haproxy => haproxy(stage, address),
            Self::Tidegate => tidegate(stage, &directory, address),
        };
        let file = directory.join("config");
        fs::write(&file, text).map_err(|error| error.to_string())?;
        let mut command = Command::new(self.program(programs));
        match self {
            Self::Nginx => command.arg("-p").arg(&directory).arg("-c").arg(&file).args(["-e", "error.log"]),
            Self::Haproxy => command.args(["-db", "-f"]).arg(&file),
            Self::Tidegate => command.args(["run", "--config"]).arg(&file),
        };
        let output = fs::File::create(directory.join("output")).map_err(|error| error.to_string())?;
        let second = output.try_clone().map_err(|error| error.to_string())?;
        command.current_dir(&directory).stdin(Stdio::null()).stdout(output).stderr(second);
        let child = command.spawn().map_err(|error| error.to_string())?;
        let mut running = Running { address, child };
        let up = clock::until(Duration::from_secs(15), || {
            let ended = running.child.try_wait().ok().flatten().is_some();
            (ended || TcpStream::connect(address).is_ok()).then_some(!ended)
        });
        if up != Some(true) {
            let output = fs::read_to_string(directory.join("output")).unwrap_or_default();
            return Err(format!("it does not start:\n{output}"));
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx's worker goes with its master only when that is asked; tidegate would take its time.
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if clock::until(Duration::from_secs(3), || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn nginx(stage: &Stage, directory: &Path, address: SocketAddr) -> String {
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let directory = directory.display();
    let files = raise_descriptors();
    let servers: String = stage.servers.iter().map(|server| format!("        server {server};\n")).collect();
    let (bystanders, connections) = (stage.bystanders, files - 100);
    let forward = "proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 3600s;
            proxy_send_timeout 3600s;";
    format!(
        "{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
worker_shutdown_timeout 1s;
pid {directory}/pid;
error_log {directory}/error.log crit;
events {{
    worker_connections {connections};
    multi_accept on;
}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream herd {{
        least_conn;
{servers}    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://herd;
            {forward}
        }}
        location /bystanders {{
            proxy_pass http://{bystanders};
            {forward}
        }}
    }}
}}
"
    )
}

fn haproxy(stage: &Stage, address: SocketAddr) -> String {
    let files = raise_descriptors();
    let Stage { bystanders, most_sessions, rate, warm_after, .. } = stage;
    let rate = rate.map_or_else(String::new, |rate| format!("rate-limit sessions {rate:.0}"));
    let slowstart = match warm_after.as_millis() {
        0 => String::new(),
        warm_after => format!(" slowstart {warm_after}ms"),
    };
    let server =
        |(at, server)| format!("    server s{at} {server} check inter 500ms maxconn {most_sessions}{slowstart}\n");
    let servers: String = stage.servers.iter().enumerate().map(server).collect();
    let connections = (files - 200) / 2;
    format!(
        "global
    nbthread 1
    maxconn {connections}
    fd-hard-limit {files}
    hard-stop-after 1s

defaults
    mode http
    no log
    option http-no-delay
    option redispatch
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
    timeout tunnel 3600s
    timeout queue 2500ms
    timeout http-request 60s

frontend in
    bind {address} backlog 4096
    {rate}
    use_backend bystanders if {{ path_beg /bystanders }}
    default_backend herd

backend bystanders
    server one {bystanders}

backend herd
    balance leastconn
{servers}"
    )
}

fn tidegate(stage: &Stage, directory: &Path, address: SocketAddr) -> String {
    let directory = directory.display();
    let servers: Vec<String> = stage.servers.iter().map(|server| format!("\"{server}\"")).collect();
    let (servers, bystanders) = (servers.join(", "), stage.bystanders);
    format!(
        "workers = 1

[[listen]]
address = \"{address}\"

[[route]]
path = \"/bystanders\"
upstream = \"bystanders\"

[[route]]
upstream = \"herd\"

[upstream.herd]
servers = [{servers}]

[upstream.bystanders]
servers = [\"{bystanders}\"]

[drain]
window = \"1s\"

[admin]
address = \"unix:{directory}/admin.sock\"

[log]
access = \"{directory}/access.log\"
"
    )
}

/// Where and when, and of what.
pub(crate) fn versions(programs: &Programs, clients: usize) -> String {
    let say = |program: &Path, flags: &[&str]| {
        let output = Command::new(program).args(flags).output();
        output
            .map_or_else(|error| error.to_string(), |o| String::from_utf8_lossy(&[o.stdout, o.stderr].concat()).into())
    };
    let version = |contender: Contender| {
        let flag = if contender == Contender::Tidegate { "--version" } else { "-v" };
        let text: String = say(contender.program(programs), &[flag]);
        let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
        let version = text.split(|c: char| c.is_whitespace() || c == '/').find(number).unwrap_or("?");
        format!("{} {version}", contender.name())
    };
    let date: String = say(Path::new("date"), &["-u", "+%Y-%m-%d"]);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}; {clients} clients; {processors} processors; {}.", Contender::ALL.map(version).join(", "), date.trim())
}
