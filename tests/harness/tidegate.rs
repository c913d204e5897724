//! A tidegate process of the test's own.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::access_log::Record;
use crate::certificate::Certificate;
use crate::clock::{eventually, within};
use crate::http::{self, Response};
use crate::metrics::{Metrics, name};
use crate::ports::free_address;
use crate::scratch::{Scratch, profile_directory};
use crate::starve::Starved;

/// A process to be started: what the test writes of its configuration, and what the harness adds.
#[derive(Debug, Default)]
pub struct Setup {
    /// Routes, upstreams, defaults, drain: everything but the tables below.
    config: String,
    /// More keys of the listener's table.
    listener: String,
    open_files: Option<u32>,
    environment: Vec<(&'static str, OsString)>,
    admin_socket: bool,
}

impl Setup {
    /// A configuration but for `[[listen]]`, `[admin]` and `[log]`, which are the harness's.
    pub fn new(config: impl Into<String>) -> Self {
        Self { config: config.into(), ..Self::default() }
    }

    /// Everything goes to one upstream called `backend`.
    pub fn proxy_to(server: SocketAddr) -> Self {
        Self::new(route_to(server))
    }

    /// As [`Self::proxy_to`], with these `[defaults]`.
    pub fn proxy_with_defaults(server: SocketAddr, defaults: &str) -> Self {
        Self::new(format!("{}\n[defaults]\n{defaults}\n", route_to(server)))
    }

    /// The listener speaks TLS.
    pub fn tls(self, certificate: &Certificate) -> Self {
        self.listener(format!("tls = {{ {} }}", certificate.keys()))
    }

    /// More keys of the listener's table.
    pub fn listener(mut self, keys: impl AsRef<str>) -> Self {
        self.listener.push_str(keys.as_ref());
        self.listener.push('\n');
        self
    }

    /// The process may open this many files.
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// The process has this in its environment.
    pub fn environment(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The process takes commands, of [`Tidegate::command`].
    pub fn admin_socket(mut self) -> Self {
        self.admin_socket = true;
        self
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(self) -> Tidegate {
        let directory = Scratch::new("tidegate");
        let (listen, admin) = (free_address(), free_address());
        let admin_socket = self.admin_socket.then(|| directory.join("admin.sock"));
        let listener = self.listener;
        let mut gate = Tidegate { child: None, directory, listener, listen, admin, admin_socket };
        gate.write_config(&self.config);
        gate.child = Some(gate.spawn(self.open_files, self.environment));
        gate.wait_until_ready().await;
        gate
    }
}

fn route_to(server: SocketAddr) -> String {
    format!("[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"{server}\"]\n")
}

/// A running process. It is killed on drop; when the test has failed, the end of its log is shown.
#[derive(Debug)]
pub struct Tidegate {
    /// `None` only until it is spawned.
    child: Option<Child>,
    directory: Scratch,
    listener: String,
    listen: SocketAddr,
    admin: SocketAddr,
    admin_socket: Option<PathBuf>,
}

/// The process that took over from the one that the test started. It is killed on drop.
#[derive(Debug)]
pub struct Successor(Pid);

impl Tidegate {
    /// Where it takes WebSockets.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where it can be asked.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The URL of a path on it.
    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.listen)
    }

    /// Changes the keys of its listener, for the next reload.
    pub fn set_listener(&mut self, keys: impl Into<String>) {
        self.listener = keys.into();
    }

    /// As [`Self::url`], over TLS.
    pub fn secure_url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://localhost:{}{path}", self.listen.port())
    }

    /// Gives it another configuration and waits until it has made up its mind.
    ///
    /// Says whether it took the new one.
    pub async fn reload(&self, config: &str) -> bool {
        self.write_config(config);
        let before = self.metrics().await.sum(name::RELOADS, &[]);
        self.signal(Signal::HUP);
        let after = self.metrics_where("a reload", |metrics| metrics.sum(name::RELOADS, &[]) > before).await;
        after.metric(name::LAST_RELOAD_SUCCESSFUL, &[]) == 1.0
    }

    /// Sends SIGHUP and does not wait.
    pub fn signal_reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGUSR1: open the log files again.
    pub fn reopen_logs(&self) {
        self.signal(Signal::USR1);
    }

    /// Sends SIGUSR2: let another process take over.
    pub fn upgrade(&self) {
        self.signal(Signal::USR2);
    }

    /// Keeps the process from running, as a busy machine does, for so long; meanwhile `others` do something.
    pub async fn stopped_for(&self, time: Duration, others: impl Future<Output = ()>) {
        self.signal(Signal::STOP);
        // Each of its threads stops when it is next at work.
        eventually("tidegate to stand still", async || self.stands_still().then_some(())).await;
        tokio::join!(tokio::time::sleep(time), others);
        self.signal(Signal::CONT);
    }

    /// Gives its workers next to no time, for as long as what is returned lives.
    pub fn starve(&self) -> Starved {
        Starved::threads_of(self.pid(), "worker-")
    }

    /// The process that took over, when it has.
    pub async fn successor(&self) -> Successor {
        let named =
            |output: &str| output.rsplit_once("\"successor\":")?.1.split(['}', ',']).next()?.parse::<i32>().ok();
        let pid = eventually("a successor in the log", async || named(&self.output())).await;
        Successor(Pid::from_raw(pid).expect("a process id"))
    }

    /// Runs `tidegate VERB` with the process's configuration.
    pub async fn command(&self, verb: &str) -> Output {
        let config = self.directory.join("tidegate.toml");
        let mut command = Command::new(binary());
        let output = command.args([verb, "--config"]).arg(config).stdin(Stdio::null()).output();
        within("a command's end", output).await.expect("tidegate runs")
    }

    /// Waits until the process has ended.
    pub async fn exit(&mut self) -> ExitStatus {
        within("tidegate's exit", self.child().wait()).await.expect("an exit status")
    }

    /// Whether the process has ended.
    pub fn has_exited(&mut self) -> bool {
        self.child().try_wait().expect("a child of ours").is_some()
    }

    /// One scrape.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.metrics_page().await)
    }

    /// One scrape as it came.
    pub async fn metrics_page(&self) -> String {
        let response = self.ask("/metrics").await;
        assert_eq!(response.status, 200);
        response.text()
    }

    /// The first scrape of which `holds` is true.
    pub async fn metrics_where(&self, what: &str, mut holds: impl FnMut(&Metrics) -> bool) -> Metrics {
        eventually(what, async || Some(self.metrics().await).filter(&mut holds)).await
    }

    /// Asks the admin listener.
    pub async fn ask(&self, path: &str) -> Response {
        http::get(self.admin, path).await
    }

    /// All complete lines of the access log so far.
    pub fn records(&self) -> Vec<Record> {
        let log = fs::read_to_string(self.access_log()).unwrap_or_default();
        // A line is complete when its newline is there.
        log.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(Record::parse).collect()
    }

    /// The access log when it has `count` lines.
    ///
    /// # Panics
    /// When it gets more, or not as many.
    pub async fn wait_for_records(&self, count: usize) -> Vec<Record> {
        let records =
            eventually("lines in the access log", async || Some(self.records()).filter(|lines| lines.len() >= count))
                .await;
        assert_eq!(records.len(), count, "{records:#?}");
        records
    }

    /// The only line of the access log.
    ///
    /// # Panics
    /// When it gets more, or none.
    pub async fn record(&self) -> Record {
        self.wait_for_records(1).await.remove(0)
    }

    /// What the process has written to stdout and stderr.
    pub fn output(&self) -> String {
        fs::read_to_string(self.directory.join("output")).unwrap_or_default()
    }

    /// Most memory that the process ever had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Memory of its own that the process has resident now, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// A size in the process's status, in bytes.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()))
            .expect("the process's status in /proc");
        let kibibytes = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        kibibytes.and_then(|number| number.parse::<u64>().ok()).expect("a size in kB") * 1024
    }

    /// Whether all its threads are stopped.
    fn stands_still(&self) -> bool {
        let threads = format!("/proc/{}/task", self.pid().as_raw_nonzero());
        let stats = fs::read_dir(threads).expect("the process's threads in /proc").filter_map(Result::ok);
        // The state follows the name, which is in parentheses.
        let state = |stat: &str| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        stats
            .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
            .all(|stat| state(&stat) == Some('T'))
    }

    /// The kernel pipes it holds.
    pub fn pipes(&self) -> usize {
        let files =
            fs::read_dir(format!("/proc/{}/fd", self.pid().as_raw_nonzero())).expect("the process's files in /proc");
        let ends = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        ends.filter(|end| end.to_string_lossy().starts_with("pipe:")).count() / 2
    }

    /// Sockets and files that the process has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid().as_raw_nonzero())).expect("the process's files in /proc").count()
    }

    /// Where the access log is.
    pub fn access_log(&self) -> PathBuf {
        self.directory.join("access.log")
    }

    fn spawn(&self, open_files: Option<u32>, environment: Vec<(&'static str, OsString)>) -> Child {
        let binary = binary();
        let mut command = match open_files {
            None => Command::new(&binary),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]).arg(&binary);
                shell
            }
        };
        let output = fs::File::create(self.directory.join("output")).expect("a file for the output");
        command
            .envs(environment)
            .args(["run", "--config"])
            .arg(self.directory.join("tidegate.toml"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .kill_on_drop(true);
        command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", binary.display()))
    }

    async fn wait_until_ready(&mut self) {
        eventually("tidegate to be ready", async || {
            assert!(!self.has_exited(), "tidegate ended instead of becoming ready");
            let answer = http::try_get(self.admin, "/readyz").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Puts a configuration in place without telling the process.
    pub fn write_config(&self, config: &str) {
        let socket = self.admin_socket.as_ref().map_or("off".into(), |path| path.display().to_string());
        let text = format!(
            "{config}\n[[listen]]\naddress = \"{}\"\n{}\n[admin]\naddress = \"{}\"\nsocket = \"{socket}\"\n\n\
             [log]\naccess = \"{}\"\nlevel = \"debug,h2=info\"\n",
            self.listen,
            self.listener,
            self.admin,
            self.access_log().display()
        );
        fs::write(self.directory.join("tidegate.toml"), text).expect("the configuration is written");
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a running tidegate");
    }

    fn pid(&self) -> Pid {
        let id = self.child.as_ref().and_then(Child::id).expect("tidegate has not been waited for");
        Pid::from_raw(id as i32).expect("a process id")
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("spawned at start")
    }
}

impl Successor {
    /// Sends SIGUSR2.
    pub fn upgrade(&self) {
        kill_process(self.0, Signal::USR2).expect("a running tidegate");
    }

    /// Sends SIGTERM and waits until the process has ended.
    pub async fn terminate(&self) {
        kill_process(self.0, Signal::TERM).expect("a running tidegate");
        eventually("the successor's end", async || (!self.is_running()).then_some(())).await;
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero())).unwrap_or_default();
        // The state follows the name, which is in parentheses. Nobody here waits for it: a zombie has ended.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.0.as_raw_nonzero().get()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            const SHOWN: usize = 60;
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let end = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!("tidegate's last words ({}):\n{}", self.directory.path().display(), end.join("\n"));
        }
    }
}

/// `$TIDEGATE_BIN`, or what `cargo build -p tidegate` built beside this executable.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    let binary = std::env::var_os("TIDEGATE_BIN").map_or_else(|| profile_directory().join("tidegate"), PathBuf::from);
    assert!(binary.exists(), "no {}: `cargo build -p tidegate`, or let `cargo xtask test` do it", binary.display());
    binary
}
