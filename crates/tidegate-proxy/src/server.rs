//! The whole of it: starts, reloads, drains, stops.

use std::{
    collections::BTreeMap,
    io,
    num::NonZero,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tidegate_config::{Address, Change, Config, Listener as Listen};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, watch},
    task::{AbortHandle, spawn_local},
};

use crate::{
    accept::{Access, Listening},
    access::AccessLog,
    admin::{self, Admin},
    auth, clock,
    command::{Command, Inbox},
    inherited::Inherited,
    shared::Shared,
    tls, traffic, vitals,
    worker::{self, Listener, Message},
};

/// How long each last step of a stop may take: telling the sessions that are left, telling their other sides, writing
/// what is on its way. Together well within the second and a half that a second SIGTERM is given.
const HURRY: Duration = Duration::from_millis(500);
/// How often a drain looks whether it is done.
const GLANCE: Duration = Duration::from_millis(20);
/// How long connections that were accepted before a hand-over may take to become sessions, or to get their answer.
/// Most take milliseconds; those that say nothing are told 503 when they do.
const SETTLE: Duration = Duration::from_secs(3);
/// The share of a drain's window over which its Closes are spread; the rest is for their answers.
const SPREAD: f64 = 0.8;

/// A running tidegate.
///
/// Lives on a current-thread runtime of its own (with a local task set), beside its workers' threads.
pub struct Server {
    shared: Arc<Shared>,
    listeners: Arc<Mutex<BTreeMap<Address, Bound>>>,
    /// `[admin] address`, then `[admin] socket`, as far as there are.
    admin: Mutex<Vec<BoundAdmin>>,
    commands: AsyncMutex<mpsc::Receiver<Command>>,
    threads: Vec<JoinHandle<()>>,
}

struct Bound {
    listener: Arc<Listener>,
    address: Address,
    /// For a successor.
    socket: OwnedFd,
}

struct BoundAdmin {
    address: Address,
    /// For a successor.
    socket: OwnedFd,
    serving: AbortHandle,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every session that was still there was given its Close.
    Told,
    /// Some could not be given theirs, or a plain request its answer.
    Cut,
}

impl Server {
    /// Binds, and serves from now on. A listener whose address is that of an inherited socket listens there.
    ///
    /// # Errors
    /// An address that is taken, a certificate or a log that is no good, a system without room.
    pub fn start(config: Config, inherited: Vec<OwnedFd>) -> io::Result<Self> {
        let access = AccessLog::open(&config.log.access)?;
        let count = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            count => count,
        };
        let (listen, admin) = (config.listeners.clone(), config.admin.clone());
        let outgoing = Shared::prepare(&config)?;
        let auth = auth::load(&config)?;
        let mut inherited = Inherited::new(inherited)?;
        let bound = listen.iter().map(|listen| bind(listen, &mut inherited)).collect::<io::Result<Vec<_>>>()?;
        let address = admin.address.map(|address| inherited.listen(&address, Access::Umask)).transpose()?;
        let socket = admin.socket.as_ref().map(|path| Address::Unix(path.as_ref().to_owned()));
        let socket = socket.map(|socket| inherited.listen(&socket, Access::Owner)).transpose()?;
        drop(inherited);

        let shared = Arc::new(Shared::new(config, access));
        shared.set_targets(&shared.live.load().config, outgoing);
        shared.auth.store(Arc::new(auth));
        let (handles, threads) = worker::start(count, &shared)?;
        shared.set_workers(handles);
        shared.metrics.begin(&shared.live.load().config);
        shared.metrics.last_reload_successful.set(1);
        shared.metrics.last_reload_success.set(unix_seconds());

        spawn_local(vitals::watch(shared.clone()));
        spawn_local(traffic::watch(shared.clone()));
        let (inbox, commands) = Inbox::new();
        let (listeners, admin) = Default::default();
        let server = Self { shared, listeners, admin, commands: AsyncMutex::new(commands), threads };
        for (listening, commands) in [(address, None), (socket, Some(inbox))] {
            listening.map(|listening| server.listen_admin(listening, commands)).transpose()?;
        }
        for (listen, bound) in listen.iter().zip(bound) {
            server.listen(listen.address.clone(), bound);
        }
        tls::publish(&server.shared, server.listener());
        spawn_local(tls::watch(server.shared.clone(), server.listener()));
        Ok(server)
    }

    /// Where it listens for clients, with the ports that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners().values().map(|bound| bound.address.clone()).collect()
    }

    /// Where the admin listeners are.
    #[must_use]
    pub fn admin_addresses(&self) -> Vec<Address> {
        self.admin().iter().map(|bound| bound.address.clone()).collect()
    }

    /// The next command of the admin socket. Waits for ever where there is none.
    pub async fn command(&self) -> Command {
        match self.commands.lock().await.recv().await {
            Some(command) => command,
            None => std::future::pending().await,
        }
    }

    /// Puts a new configuration in force. All of it or nothing: what it needs is bound and loaded first. Then the
    /// sessions end whose route or endpoint it no longer has; no other is touched.
    ///
    /// # Errors
    /// Something it needs is not to be had; then nothing has changed.
    pub fn reload(&self, config: Config) -> io::Result<Arc<Change>> {
        let done = self.try_reload(config);
        let metrics = &self.shared.metrics;
        match &done {
            Ok(_) => {
                metrics.reloads.with_label_values(&["success"]).inc();
                metrics.last_reload_successful.set(1);
                metrics.last_reload_success.set(unix_seconds());
            }
            Err(_) => self.reload_failed(),
        }
        done
    }

    /// A reload was asked for and came to nothing, perhaps before there was a [`Config`].
    pub fn reload_failed(&self) {
        self.shared.metrics.reloads.with_label_values(&["failure"]).inc();
        self.shared.metrics.last_reload_successful.set(0);
    }

    fn try_reload(&self, config: Config) -> io::Result<Arc<Change>> {
        let change = Change::between(&self.shared.live.load().config, &config);
        let outgoing = Shared::prepare(&config)?;
        let auth = auth::load(&config)?;
        let mut none = Inherited::new(Vec::new())?;
        let added =
            change.listeners_added.iter().map(|listen| bind(listen, &mut none)).collect::<io::Result<Vec<_>>>()?;
        // Files may have changed though their names did not.
        let certificates = config
            .listeners
            .iter()
            .filter_map(|listen| Some((self.listener()(&listen.address)?, listen.tls.as_ref())))
            .map(|(listener, tls)| {
                let before = listener.tls.load();
                let loaded = tls.map(|tls| tls::incoming(tls, before.as_deref())).transpose()?;
                Ok((listener, loaded.map(Arc::new)))
            })
            .collect::<io::Result<Vec<_>>>()?;

        // Nothing can fail from here on.
        self.shared.auth.store(Arc::new(auth));
        self.shared.set_targets(&config, outgoing);
        let change = Arc::new(self.shared.live.swap(config));
        self.shared.metrics.begin(&self.shared.live.load().config);
        for listen in &self.shared.live.load().config.listeners {
            if let Some(listener) = self.listener()(&listen.address) {
                listener.http2_max_streams.store(listen.http2_max_streams, Relaxed);
                listener.trust.store(listen.trust.clone());
            }
        }
        for (listener, certificates) in certificates {
            listener.tls.store(certificates);
        }
        for address in &change.listeners_removed {
            if let Some(bound) = self.listeners().remove(address) {
                bound.leave();
            }
        }
        for (listen, bound) in change.listeners_added.iter().zip(added) {
            self.listen(listen.address.clone(), bound);
        }
        tls::publish(&self.shared, self.listener());
        for worker in self.shared.workers() {
            worker.send(Message::Reload(change.clone()));
        }
        Ok(change)
    }

    /// Opens the access log anew, after it was rotated.
    pub fn reopen_logs(&self) {
        self.shared.access.reopen();
    }

    /// Every listening socket, for a successor to listen on.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        let listeners = self.listeners();
        let admin = self.admin();
        listeners
            .values()
            .map(|bound| &bound.socket)
            .chain(admin.iter().map(|bound| &bound.socket))
            .map(OwnedFd::try_clone)
            .collect()
    }

    /// A successor listens on the same sockets: leaves them to it, and waits for those who came here first to have
    /// their sessions, for a bounded time. What is left to do is to [drain](Self::drain).
    pub async fn hand_over(&self) {
        let left: Vec<_> = std::mem::take(&mut *self.listeners()).into_values().map(|bound| bound.listener).collect();
        left.iter().for_each(|listener| listener.leave());
        self.admin().drain(..).for_each(|bound| bound.serving.abort());
        let unsettled = || left.iter().any(|l| l.is_accepting()) || self.shared.connections() > self.shared.sessions();
        let deadline = clock::now() + SETTLE;
        while unsettled() && !self.shared.hurried() && clock::now() < deadline {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Whether every worker answers within this time. One that does not serves nobody.
    pub async fn is_alive(&self, patience: Duration) -> bool {
        self.shared.answer_time(patience).await.is_some()
    }

    /// Stops: new handshakes get 503, open sessions end by 1012 over the configured window, client leg first.
    /// [`hurry`](Self::hurry) cuts it short. Returns when the last session is over.
    pub async fn drain(&self) -> Drained {
        let window = self.drain_window();
        self.shared.begin_drain(window);
        let cut_before = self.shared.unclosable.load(Relaxed);
        self.order_drain(window.mul_f64(SPREAD));
        let deadline = clock::now() + window;
        while self.is_busy() && !self.shared.hurried() && clock::now() < deadline {
            tokio::time::sleep(GLANCE).await;
        }
        // Those that were not told yet are; then nobody's answer is waited for, so that the other side is told too.
        for last in [Message::Drain as fn(Duration) -> Message, |_| Message::Hurry] {
            for worker in self.shared.workers() {
                worker.send(last(Duration::ZERO));
            }
            let deadline = clock::now() + HURRY;
            while self.is_busy() && clock::now() < deadline {
                tokio::time::sleep(GLANCE).await;
            }
        }
        let cut = self.is_busy() || self.shared.unclosable.load(Relaxed) > cut_before;
        if cut { Drained::Cut } else { Drained::Told }
    }

    /// The longest that a drain waits before its last steps.
    #[must_use]
    pub fn drain_window(&self) -> Duration {
        self.shared.live.load().config.drain.window
    }

    /// Makes a drain that is under way end every session now.
    pub fn hurry(&self) {
        self.shared.hurried.store(true, Relaxed);
    }

    /// Lets answers to commands leave, within a bounded time.
    pub async fn last_words(&self) {
        let deadline = clock::now() + HURRY;
        while self.shared.admin_connections.load(Relaxed) > 0 && clock::now() < deadline {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Ends the workers and writes what waits to be logged.
    pub fn stop(self) {
        self.listeners().values().for_each(Bound::leave);
        for worker in self.shared.workers() {
            worker.send(Message::Stop(HURRY));
        }
        for thread in self.threads {
            // A worker that panicked has said so.
            let _ = thread.join();
        }
        self.shared.access.close();
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let admin = self.admin.into_inner().unwrap_or_else(PoisonError::into_inner);
        for address in listeners.keys().chain(admin.iter().map(|bound| &bound.address)) {
            if let Address::Unix(path) = address {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Sessions open now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.sessions()
    }

    /// Whether there are sessions, handshakes that may become some, or plain requests without their answer.
    fn is_busy(&self) -> bool {
        self.shared.sessions() + self.shared.openings() > 0 || self.shared.exchanges.load(Relaxed) > 0
    }

    fn order_drain(&self, window: Duration) {
        for worker in self.shared.workers() {
            worker.send(Message::Drain(window));
        }
    }

    /// Gives a bound socket to a worker: the first to the first, and so on.
    fn listen(&self, address: Address, (listening, bound): (Listening, Bound)) {
        let mut listeners = self.listeners();
        let workers = self.shared.workers();
        let worker = &workers[listeners.len() % workers.len()];
        worker.send(Message::Listen(listening, bound.listener.clone()));
        listeners.insert(address, bound);
    }

    fn listen_admin(&self, listening: Listening, commands: Option<Inbox>) -> io::Result<()> {
        let (address, socket) = (listening.address.clone(), listening.try_clone()?);
        let admin = Admin { shared: self.shared.clone(), commands };
        let serving = spawn_local(admin::serve(listening, admin)).abort_handle();
        self.admin().push(BoundAdmin { address, socket, serving });
        Ok(())
    }

    /// How a listener is found.
    fn listener(&self) -> impl Fn(&Address) -> Option<Arc<Listener>> + use<> {
        let listeners = self.listeners.clone();
        move |address| {
            let listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.get(address).map(|bound| bound.listener.clone())
        }
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<Address, Bound>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admin(&self) -> MutexGuard<'_, Vec<BoundAdmin>> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bound {
    /// Accepts nothing more.
    fn leave(&self) {
        self.listener.leave();
    }
}

fn bind(listen: &Listen, inherited: &mut Inherited) -> io::Result<(Listening, Bound)> {
    let tls = listen.tls.as_ref().map(|tls| tls::incoming(tls, None)).transpose()?;
    let tls = ArcSwapOption::new(tls.map(Arc::new));
    let listening = inherited.listen(&listen.address, Access::Umask)?;
    let (address, socket) = (listening.address.clone(), listening.try_clone()?);
    let listener = Listener {
        name: address.to_string(),
        tls,
        http2_max_streams: listen.http2_max_streams.into(),
        trust: ArcSwap::new(listen.trust.clone()),
        removed: watch::Sender::new(false),
    };
    Ok((listening, Bound { listener: Arc::new(listener), address, socket }))
}

fn unix_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}
