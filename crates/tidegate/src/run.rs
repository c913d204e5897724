//! What the verbs do.

use std::{path::Path, process::ExitCode};

use tidegate_proxy::Drained;
use tokio::runtime::{Builder, LocalOptions};

use crate::{cli, handover::Handed, life, logging, source::Source};

/// `EX_CONFIG` of sysexits.h: a service manager need not try again.
const BAD_CONFIG: u8 = 78;
/// `EX_TEMPFAIL`: a drain ended with sessions that could not be told.
const DRAIN_CUT: u8 = 75;
const USAGE: u8 = 2;

/// `tidegate run`.
pub(crate) fn run(from: &cli::From, handed: Handed) -> ExitCode {
    match Source::find(from.config.as_deref()) {
        Some(source) => serve(&source, handed),
        None => no_config(),
    }
}

/// `tidegate check`.
pub(crate) fn check(from: &cli::From) -> ExitCode {
    let Some(source) = Source::find(from.config.as_deref()) else { return no_config() };
    match source.load() {
        Ok((config, warnings)) => {
            if let Some(warnings) = warnings {
                eprintln!("{warnings}");
            }
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
pub(crate) fn proxy(what: &cli::Proxy, handed: Handed) -> ExitCode {
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
    serve(&Source::Text(toml), handed)
}

/// No verb: serve if there is a configuration, else say what to do.
pub(crate) fn run_or_explain(handed: Handed) -> ExitCode {
    match Source::find(std::env::var_os("TIDEGATE_CONFIG").as_deref().map(Path::new)) {
        Some(source) => serve(&source, handed),
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

pub(crate) fn no_config() -> ExitCode {
    eprintln!("error: no configuration file: name one with --config, or see `tidegate help`");
    ExitCode::from(BAD_CONFIG)
}

pub(crate) fn bad_config(errors: &str) -> ExitCode {
    eprintln!("{errors}");
    ExitCode::from(BAD_CONFIG)
}

fn serve(source: &Source, handed: Handed) -> ExitCode {
    let (config, warnings) = match source.load() {
        Ok(loaded) => loaded,
        Err(errors) => return bad_config(&errors),
    };
    logging::start(&config.log);
    warn(warnings.as_deref());
    if let Source::File(path) = source {
        tracing::info!(path = %path.display(), "configuration loaded");
    }
    raise_descriptor_limit();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    match runtime.and_then(|runtime| runtime.block_on(life::live(source, config, handed))) {
        Ok(Drained::Told) => ExitCode::SUCCESS,
        Ok(Drained::Cut) => ExitCode::from(DRAIN_CUT),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Logs what a configuration that is used could be blamed for.
pub(crate) fn warn(warnings: Option<&str>) {
    if let Some(warnings) = warnings {
        tracing::warn!("the configuration is used, but:\n{warnings}");
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
