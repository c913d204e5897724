//! The life of a serving process: signals and commands until it is to stop, and then its drain.

use std::{io, time::Duration};

use tidegate_config::Config;
use tidegate_proxy::{Command, Drained, Outcome, Server, Verb};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, interval},
};

use crate::{
    handover::{self, Handed},
    run, service,
    source::Source,
};

/// What a drain may take beyond its window: its last steps.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// From the first connection to the last.
///
/// # Errors
/// It cannot serve.
pub(crate) async fn live(source: &Source, config: Config, handed: Handed) -> io::Result<Drained> {
    let mut signals = Signals::new()?;
    let server = Server::start(config, handed.sockets)?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    for address in server.admin_addresses() {
        tracing::info!(%address, "admin");
    }
    if let Some(predecessor) = handed.predecessor {
        predecessor.release();
    }
    service::ready(server.sessions());

    let asked = serve(source, &server, &mut signals).await;
    let sessions = server.sessions();
    tracing::info!(sessions, "draining");
    let drained = tokio::select! {
        drained = server.drain() => drained,
        never = signals.hurry(&server) => match never {},
    };
    if let Some(command) = asked {
        command.answer(match drained {
            Drained::Told => Ok(format!("drained: {sessions} sessions were told")),
            Drained::Cut => Err(format!("drained: some of {sessions} sessions could not be told")),
        });
        server.last_words().await;
    }
    tracing::info!("stopped");
    server.stop();
    Ok(drained)
}

/// Returns when it is time to drain, with the command that waits for its end.
async fn serve(source: &Source, server: &Server, signals: &mut Signals) -> Option<Command> {
    let mut watchdog = service::watchdog().map(interval);
    loop {
        let (wish, command) = tokio::select! {
            wish = signals.next() => (wish, None),
            command = server.command() => (Wish::Command(command.verb), Some(command)),
            period = tick(&mut watchdog) => {
                if server.is_alive(period).await {
                    service::alive(server.sessions());
                } else {
                    tracing::error!("a worker does not answer");
                }
                continue;
            }
        };
        let outcome = match wish {
            Wish::ReopenLogs => {
                server.reopen_logs();
                continue;
            }
            Wish::Command(Verb::Reload) => reload(source, server),
            Wish::Command(Verb::Drain) => {
                service::stopping(server.sessions(), server.drain_window() + LAST_STEPS);
                return command;
            }
            Wish::Command(Verb::Upgrade) => match upgrade(server).await {
                Ok(successor) => {
                    answer(command, Ok(format!("process {successor} has taken over")));
                    server.hand_over().await;
                    return None;
                }
                Err(why) => Err(why),
            },
        };
        answer(command, outcome);
    }
}

fn answer(command: Option<Command>, outcome: Outcome) {
    if let Some(command) = command {
        command.answer(outcome);
    }
}

/// The next time that the watchdog wants to hear something; gives its period.
async fn tick(watchdog: &mut Option<Interval>) -> Duration {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
            interval.period()
        }
        None => std::future::pending().await,
    }
}

fn reload(source: &Source, server: &Server) -> Outcome {
    service::reloading();
    let outcome = match source.load() {
        Ok((config, warnings)) => {
            run::warn(warnings.as_deref());
            take(server, config).map(|said| [Some(said), warnings].into_iter().flatten().collect::<Vec<_>>().join("\n"))
        }
        Err(errors) => {
            server.reload_failed();
            tracing::error!("reload refused, nothing has changed:\n{errors}");
            Err(format!("refused, nothing has changed:\n{errors}"))
        }
    };
    service::ready(server.sessions());
    outcome
}

fn take(server: &Server, config: Config) -> Outcome {
    match server.reload(config) {
        Ok(change) if change.is_noop() => {
            tracing::info!("reloaded: nothing has changed");
            Ok("reloaded: nothing has changed".to_owned())
        }
        Ok(change) => {
            tracing::info!(
                routes_removed = change.routes_removed.join(", "),
                endpoints_removed =
                    change.endpoints_removed.values().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                "reloaded"
            );
            if change.needs_restart.is_empty() {
                return Ok("reloaded".to_owned());
            }
            tracing::warn!(keys = ?change.needs_restart, "these take effect at the next start");
            Ok(format!("reloaded; at the next start, or by `tidegate upgrade`: {}", change.needs_restart.join(", ")))
        }
        Err(error) => {
            tracing::error!(%error, "reload refused, nothing has changed");
            Err(format!("refused, nothing has changed: {error}"))
        }
    }
}

/// Has a new process listen beside this one; gives its id. A failure leaves everything as it was.
async fn upgrade(server: &Server) -> Result<u32, String> {
    tracing::info!("upgrading: a new process is started");
    let started = match server.sockets() {
        Ok(sockets) => handover::start_successor(sockets).await,
        Err(error) => Err(format!("the listening sockets cannot be given on: {error}")),
    };
    match &started {
        Ok(successor) => {
            tracing::info!(successor, "handed over");
            service::succeeded_by(*successor);
        }
        Err(why) => tracing::error!("upgrade failed, this process goes on: {why}"),
    }
    started
}

/// What a signal asks for.
enum Wish {
    Command(Verb),
    ReopenLogs,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
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
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Wish {
        let verb = tokio::select! {
            _ = self.hangup.recv() => Verb::Reload,
            _ = self.user1.recv() => return Wish::ReopenLogs,
            _ = self.user2.recv() => Verb::Upgrade,
            _ = self.terminate.recv() => Verb::Drain,
            _ = self.interrupt.recv() => Verb::Drain,
            _ = self.quit.recv() => Verb::Drain,
        };
        Wish::Command(verb)
    }

    /// While it drains: a second request to stop cuts it short; for all else it is too late.
    async fn hurry(&mut self, server: &Server) -> Never {
        loop {
            let wish = tokio::select! {
                wish = self.next() => wish,
                command = server.command() => match command.verb {
                    Verb::Drain => {
                        server.hurry();
                        command.answer(Ok("ending the sessions that are left".to_owned()));
                        continue;
                    }
                    _ => {
                        command.answer(Err("draining: too late".to_owned()));
                        continue;
                    }
                },
            };
            match wish {
                Wish::Command(Verb::Drain) => server.hurry(),
                Wish::Command(verb) => tracing::warn!("draining: {} ignored", verb.word()),
                Wish::ReopenLogs => server.reopen_logs(),
            }
        }
    }
}
