//! What the verbs do.

use std::{io, path::Path, process::ExitCode};

use tidegate_config::Config;
use tidegate_proxy::{Drained, Server};
use tokio::{
    runtime::{Builder, LocalOptions},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{cli, logging, source::Source};

/// `EX_CONFIG` of sysexits.h: a service manager need not try again.
const BAD_CONFIG: u8 = 78;
/// `EX_TEMPFAIL`: a drain ended with sessions that could not be told.
const DRAIN_CUT: u8 = 75;
const USAGE: u8 = 2;

/// `tidegate run`.
pub(crate) fn run(from: &cli::From) -> ExitCode {
    match Source::find(from.config.as_deref()) {
        Some(source) => serve(&source),
        None => no_config(),
    }
}

/// `tidegate check`.
pub(crate) fn check(from: &cli::From) -> ExitCode {
    let Some(source) = Source::find(from.config.as_deref()) else { return no_config() };
    match source.load() {
        Ok(config) => {
            println!(
                "ok: listeners {}, routes {}, upstreams {}",
                config.listeners.len(),
                config.routes.len(),
                config.upstreams.len()
            );
            ExitCode::SUCCESS
        }
        Err(errors) => bad_config(&errors),
    }
}

/// `tidegate proxy`.
pub(crate) fn proxy(what: &cli::Proxy) -> ExitCode {
    let (address, tls) = match what.upstream.split_once("://") {
        Some(("ws" | "http", rest)) => (rest, false),
        Some(("wss" | "https", rest)) => (rest, true),
        Some((scheme, _)) => {
            eprintln!("error: {scheme}:// is no WebSocket address: use ws:// or wss://");
            return ExitCode::from(USAGE);
        }
        None => (what.upstream.as_str(), false),
    };
    let address = address.trim_end_matches('/');
    // Debug prints a string as TOML would have it: quoted, with escapes.
    let toml = format!(
        "[[listen]]\naddress = \"{}\"\n\n[[route]]\nupstream = \"main\"\n\n[upstream.main]\nservers = [{address:?}]\n{}\
         \n[admin]\naddress = \"{}\"\n",
        what.listen,
        if tls { "tls = {}\n" } else { "" },
        what.admin,
    );
    eprintln!("# save this as tidegate.toml to keep it\n{toml}");
    eprintln!("clients: ws://{}/  metrics: http://{}/metrics", what.listen, what.admin);
    serve(&Source::Text(toml))
}

/// No verb: serve if there is a configuration, else say what to do.
pub(crate) fn run_or_explain() -> ExitCode {
    match Source::find(std::env::var_os("TIDEGATE_CONFIG").as_deref().map(Path::new)) {
        Some(source) => serve(&source),
        None => {
            eprint!("{}", WELCOME);
            ExitCode::from(USAGE)
        }
    }
}

const WELCOME: &str = "\
tidegate: a reverse proxy that makes every WebSocket connection end with the truth.

  tidegate demo                          see it, in a browser
  tidegate proxy ws://127.0.0.1:3000     put it in front of a server
  tidegate init                          write an example configuration
  tidegate check --config FILE           check a configuration
  tidegate run --config FILE             serve
  tidegate help                          everything else

Configuration is looked for in $TIDEGATE_CONFIG, ./tidegate.toml,
$XDG_CONFIG_HOME/tidegate/tidegate.toml and /etc/tidegate/tidegate.toml.
";

fn no_config() -> ExitCode {
    eprintln!("error: no configuration file: name one with --config, or see `tidegate help`");
    ExitCode::from(BAD_CONFIG)
}

fn bad_config(errors: &str) -> ExitCode {
    eprintln!("{errors}");
    ExitCode::from(BAD_CONFIG)
}

fn serve(source: &Source) -> ExitCode {
    let config = match source.load() {
        Ok(config) => config,
        Err(errors) => return bad_config(&errors),
    };
    logging::start(&config.log);
    if let Source::File(path) = source {
        tracing::info!(path = %path.display(), "configuration loaded");
    }
    raise_descriptor_limit();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    match runtime.and_then(|runtime| runtime.block_on(live(source, config))) {
        Ok(Drained::Told) => ExitCode::SUCCESS,
        Ok(Drained::Cut) => ExitCode::from(DRAIN_CUT),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// From the first connection to the last, listening to signals meanwhile.
async fn live(source: &Source, config: Config) -> io::Result<Drained> {
    let mut signals = Signals::new()?;
    let server = Server::start(config)?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = server.admin_address() {
        tracing::info!(%address, "admin");
    }
    while !signals.wait_for_stop(|| reload(source, &server), || server.reopen_logs()).await {}
    tracing::info!(sessions = server.sessions(), "draining");
    let drained = tokio::select! {
        drained = server.drain() => drained,
        never = signals.hurry(&server) => match never {},
    };
    tracing::info!("stopped");
    server.stop();
    Ok(drained)
}

fn reload(source: &Source, server: &Server) {
    let config = match source.load() {
        Ok(config) => config,
        Err(errors) => {
            server.reload_failed();
            return tracing::error!("reload refused, nothing has changed:\n{errors}");
        }
    };
    match server.reload(config) {
        Ok(change) if change.is_noop() => tracing::info!("reloaded: nothing has changed"),
        Ok(change) => {
            tracing::info!(
                routes_removed = change.routes_removed.join(", "),
                endpoints_removed =
                    change.endpoints_removed.values().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                "reloaded"
            );
            if !change.needs_restart.is_empty() {
                tracing::warn!(keys = ?change.needs_restart, "these take effect at the next start");
            }
        }
        Err(error) => tracing::error!(%error, "reload refused, nothing has changed"),
    }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
}

enum Never {}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// One signal: `true` for those that ask to stop.
    async fn wait_for_stop(&mut self, reload: impl FnOnce(), reopen: impl FnOnce()) -> bool {
        tokio::select! {
            _ = self.hangup.recv() => reload(),
            _ = self.user1.recv() => reopen(),
            _ = self.terminate.recv() => return true,
            _ = self.interrupt.recv() => return true,
            _ = self.quit.recv() => return true,
        }
        false
    }

    /// While it drains: a second request to stop cuts it short, a reload is too late.
    async fn hurry(&mut self, server: &Server) -> Never {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => tracing::warn!("draining: reload ignored"),
                _ = self.user1.recv() => server.reopen_logs(),
                _ = self.terminate.recv() => server.hurry(),
                _ = self.interrupt.recv() => server.hurry(),
                _ = self.quit.recv() => server.hurry(),
            }
        }
    }
}

/// As many descriptors as the system allows: a session has two. nginx and HAProxy want to be told.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "descriptor limit not raised");
    }
}
