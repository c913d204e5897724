//! The proxies that are compared: how each is set up as its users would, with one worker, and run.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{clock, configs, cpu};

/// Which, and with which tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Nginx,
    /// With 64 KiB buffers: dearer in memory, cheaper for bulk.
    NginxBulk,
    Haproxy,
    /// With `splice(2)`: cheaper for bulk, six more descriptors a session while it lasts.
    HaproxySplice,
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
    /// Counts system calls.
    #[arg(long)]
    pub(crate) strace: PathBuf,
}

/// What a configuration is filled with.
pub(crate) struct Stage<'a> {
    pub(crate) programs: &'a Programs,
    /// Where processes keep their files.
    pub(crate) scratch: &'a Path,
    pub(crate) server: SocketAddr,
    /// Certificate and key (PEM), where clients speak TLS.
    pub(crate) tls: Option<(&'a str, &'a str)>,
    /// How long a session may be idle, in seconds. Long, unless that is what is looked at.
    pub(crate) idle_timeout: u32,
}

/// A running proxy; killed on drop.
pub(crate) struct Running {
    pub(crate) proxy: Proxy,
    pub(crate) address: SocketAddr,
    pub(crate) pids: Vec<u32>,
    child: Child,
}

impl Proxy {
    /// All; those that are tuned for bulk only where there is bulk.
    pub(crate) const ALL: [Self; 5] =
        [Self::Nginx, Self::NginxBulk, Self::Haproxy, Self::HaproxySplice, Self::Tidegate];
    /// One of each.
    pub(crate) const PLAIN: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Tidegate];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxBulk => "nginx, 64 KiB buffers",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy, splice",
            Self::Tidegate => "tidegate",
        }
    }

    fn program(self, programs: &Programs) -> &Path {
        match self {
            Self::Nginx | Self::NginxBulk => &programs.nginx,
            Self::Haproxy | Self::HaproxySplice => &programs.haproxy,
            Self::Tidegate => &programs.tidegate,
        }
    }

    /// What it says of its version.
    pub(crate) fn version(self, programs: &Programs) -> String {
        let flag = if self == Self::Tidegate { "--version" } else { "-v" };
        let output = Command::new(self.program(programs)).arg(flag).output();
        let text = output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        );
        let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
        let word = text.split(|c: char| c.is_whitespace() || c == '/').find(number).unwrap_or("?");
        word.to_owned()
    }

    /// The signal that asks it to stop gracefully.
    pub(crate) const fn stop_signal(self) -> Signal {
        match self {
            Self::Nginx | Self::NginxBulk => Signal::QUIT,
            Self::Haproxy | Self::HaproxySplice => Signal::USR1,
            Self::Tidegate => Signal::TERM,
        }
    }

    /// Starts it and waits until it takes connections.
    pub(crate) fn start(self, stage: &Stage<'_>) -> Result<Running, String> {
        let directory = stage.scratch.join(format!("{self:?}"));
        let prepare = || {
            // What an earlier one left.
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory)?;
            TcpListener::bind(("127.0.0.1", 0))?.local_addr()
        };
        let address = prepare().map_err(|error| format!("{}: {error}", directory.display()))?;
        let text = match self {
            Self::Nginx => configs::nginx(stage, &directory, address, 16),
            Self::NginxBulk => configs::nginx(stage, &directory, address, 64),
            Self::Haproxy => configs::haproxy(stage, &directory, address, false),
            Self::HaproxySplice => configs::haproxy(stage, &directory, address, true),
            Self::Tidegate => configs::tidegate(stage, &directory, address),
        };
        let file = directory.join("config");
        let mut files = vec![("config", text)];
        if let Some((certificate, key)) = stage.tls {
            let both = format!("{certificate}{key}");
            files.extend([("certificate.pem", certificate.into()), ("key.pem", key.into()), ("both.pem", both)]);
        }
        for (name, text) in files {
            fs::write(directory.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        let mut command = Command::new(self.program(stage.programs));
        match self {
            Self::Nginx | Self::NginxBulk => {
                command.arg("-p").arg(&directory).arg("-c").arg(&file).args(["-e", "error.log"])
            }
            Self::Haproxy | Self::HaproxySplice => command.args(["-db", "-f"]).arg(&file),
            Self::Tidegate => command.args(["run", "--config"]).arg(&file),
        };
        let output = fs::File::create(directory.join("output")).map_err(|error| error.to_string())?;
        let second = output.try_clone().map_err(|error| error.to_string())?;
        command.current_dir(&directory).stdin(Stdio::null()).stdout(output).stderr(second);
        let child = cpu::on_the_proxies_processor(|| command.spawn());
        let child = child.map_err(|error| format!("{}: {error}", self.program(stage.programs).display()))?;
        let mut running = Running { proxy: self, address, pids: Vec::new(), child };
        let up = clock::until(Duration::from_secs(15), || {
            let ended = running.child.try_wait().ok().flatten().is_some();
            (ended || TcpStream::connect(address).is_ok()).then_some(!ended)
        });
        if up != Some(true) {
            let output = fs::read_to_string(directory.join("output")).unwrap_or_default();
            return Err(format!("{} does not start:\n{output}", self.name()));
        }
        // nginx's worker comes a moment after the port.
        let wanted = if matches!(self, Self::Nginx | Self::NginxBulk) { 2 } else { 1 };
        let root = running.child.id();
        let family = clock::until(Duration::from_secs(5), || Some(cpu::family(root)).filter(|all| all.len() >= wanted));
        running.pids = family.ok_or_else(|| format!("{} has no worker", self.name()))?;
        Ok(running)
    }
}

impl Running {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx's worker goes with its master only when that is asked.
        self.signal(Signal::TERM);
        if self.proxy == Proxy::Tidegate {
            self.signal(Signal::TERM);
        }
        let gone = clock::until(Duration::from_secs(3), || self.child.try_wait().ok().flatten());
        if gone.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Descriptors that this process, and so what it starts, may have.
pub(crate) fn descriptors() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.unwrap_or(1 << 20).min(1 << 20)
}

/// Raises the soft limit to the hard one.
pub(crate) fn raise_descriptors() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // Else fewer sessions are opened, and that is said.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

/// A PEM certificate for `localhost` and its key, both text, and the certificate as DER.
pub(crate) fn certificate() -> Result<(String, String, Vec<u8>), String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(|error| error.to_string())?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().to_vec()))
}
