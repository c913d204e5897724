//! The actors, and what they play: a backend, tidegate in front of it, a tunnel in front of it.

use std::{
    cell::{Cell, RefCell},
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    rc::Rc,
    time::{Duration, SystemTime},
};

use tidegate_config::{Address, Config};
use tidegate_proxy::Server;
use tokio::{sync::mpsc::Receiver, time::sleep};

use super::{
    MAX_SESSIONS,
    backend::{Backend, Mood},
    tunnel::Tunnel,
};

/// How long a crashed backend stays away: longer than the longest wait for room, so that both can be seen.
const AWAY: Duration = Duration::from_secs(4);
/// How long a backend refuses.
const OVERLOAD: Duration = Duration::from_secs(8);
/// How long a backend is frozen: longer than tidegate waits for a sign of life.
const FREEZE: Duration = Duration::from_secs(8);
/// What the sessions of a backend get that is about to be replaced.
const NOTICE: Duration = Duration::from_secs(2);

/// What a visitor may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// Nothing happens.
    Calm,
    /// The backend dies and comes back.
    Crash,
    /// The backend refuses newcomers.
    Overload,
    /// The backend neither reads nor writes.
    Freeze,
    /// Another backend takes over, and the present one ends.
    Restart,
}

impl Scene {
    /// As the page names it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Crash => "crash",
            Self::Overload => "overload",
            Self::Freeze => "freeze",
            Self::Restart => "restart",
        }
    }

    /// One that can be asked for.
    pub(crate) fn named(word: &str) -> Option<Self> {
        [Self::Crash, Self::Overload, Self::Freeze, Self::Restart].into_iter().find(|scene| scene.word() == word)
    }
}

/// All that runs.
pub(crate) struct Stage {
    ip: IpAddr,
    backend: Backend,
    tunnel: Tunnel,
    server: Server,
    scratch: Scratch,
    board: Rc<Board>,
}

/// What the page shows of the stage.
pub(crate) struct Board {
    /// What is played now. The page sets it when it asks for a scene, and the stage when the scene is over.
    pub(crate) scene: Cell<Scene>,
    /// The configuration that tidegate runs with, as a file would have it.
    pub(crate) configuration: RefCell<String>,
}

impl Stage {
    /// Starts the backend, then both proxies in front of it.
    ///
    /// # Errors
    /// No port, or no room for the access log.
    pub(crate) async fn start(ip: IpAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let backend = Backend::start().await?;
        let tunnel = Tunnel::start(ip, backend.address()).await?;
        let scratch = Scratch::new()?;
        let configuration = configuration(ip, &backend, &scratch);
        let server = Server::start(parse(&configuration)?, Vec::new())?;
        let board = Rc::new(Board { scene: Cell::new(Scene::Calm), configuration: RefCell::new(configuration) });
        Ok(Self { ip, backend, tunnel, server, scratch, board })
    }

    pub(crate) fn board(&self) -> Rc<Board> {
        self.board.clone()
    }

    /// Where tidegate's metrics are.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.server.admin_addresses().first().and_then(tcp)
    }

    /// The ports of the tunnel and of tidegate.
    pub(crate) fn ports(&self) -> (u16, u16) {
        let tidegate = self.server.addresses().iter().find_map(tcp);
        (self.tunnel.address().port(), tidegate.map_or(0, |address| address.port()))
    }

    pub(crate) fn access_log(&self) -> PathBuf {
        self.scratch.access_log()
    }

    /// Plays what is asked for, one after the other. Each scene ends by itself.
    pub(crate) async fn play(&mut self, asked: &mut Receiver<Scene>) {
        while let Some(scene) = asked.recv().await {
            match scene {
                Scene::Calm => {}
                Scene::Crash => {
                    self.backend.crash().await;
                    sleep(AWAY).await;
                    self.backend.recover().await;
                }
                Scene::Overload => self.in_a_mood(Mood::Overloaded, OVERLOAD).await,
                Scene::Freeze => self.in_a_mood(Mood::Frozen, FREEZE).await,
                Scene::Restart => {
                    if let Err(error) = self.restart().await {
                        tracing::error!(%error, "the backend was not replaced");
                    }
                }
            }
            self.board.scene.set(Scene::Calm);
        }
    }

    async fn in_a_mood(&self, mood: Mood, span: Duration) {
        self.backend.set_mood(mood);
        sleep(span).await;
        self.backend.set_mood(Mood::Well);
    }

    /// A rolling restart: a second backend starts, a reload leads to it, and then the first one ends. Through tidegate
    /// its sessions are told 1012 before; through the tunnel nobody is told anything.
    async fn restart(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let next = Backend::start().await?;
        let configuration = configuration(self.ip, &next, &self.scratch);
        self.server.reload(parse(&configuration)?)?;
        self.board.configuration.replace(configuration);
        self.tunnel.lead_to(next.address());
        let mut last = std::mem::replace(&mut self.backend, next);
        sleep(NOTICE).await;
        last.crash().await;
        Ok(())
    }

    /// Drains tidegate, as SIGTERM does. `hurry` resolves when nothing more is to be waited for.
    pub(crate) async fn end(self, hurry: impl Future<Output = ()>) {
        let hurry = async {
            hurry.await;
            self.server.hurry();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = self.server.drain() => {}
            () = hurry => {}
        }
        self.server.stop();
    }
}

fn tcp(address: &Address) -> Option<SocketAddr> {
    match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    }
}

fn parse(toml: &str) -> Result<Config, Complaint> {
    tidegate_config::parse("the demo's configuration", toml).map_err(|errors| Complaint(errors.render(false)))
}

/// What is wrong with a configuration, for a person.
#[derive(Debug)]
struct Complaint(String);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Complaint {}

/// Small numbers, so that nobody has to wait or to open a thousand sessions.
fn configuration(ip: IpAddr, backend: &Backend, scratch: &Scratch) -> String {
    let (listen, log) = (SocketAddr::new(ip, 0), scratch.access_log());
    let server = backend.address();
    // Debug prints a string as TOML would have it: quoted, with escapes.
    format!(
        r#"workers = 1

[[listen]]
address = "{listen}"

[[route]]
name = "demo"
upstream = "backend"

[upstream.backend]
servers = ["{server}"]
max_sessions = {MAX_SESSIONS}

[defaults]
keepalive_interval = "2s"
keepalive_timeout = "2s"
queue_timeout = "1s"
spread = "1s"

[drain]
window = "2s"

[admin]
address = "127.0.0.1:0"

[log]
access = {log:?}
level = "warn"
"#
    )
}

/// A directory for the access log, gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!("tidegate-demo-{}-{}", std::process::id(), since.as_nanos());
        let path = std::env::temp_dir().join(name);
        // Fails where something is: nobody else's directory is written to.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn access_log(&self) -> PathBuf {
        self.0.join("access.log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
