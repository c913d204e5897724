//! What a client hears when a session ends without either end having asked for it.

use std::time::Duration;

use bench_rig::clock;

use crate::{
    frames, loads,
    proxies::{Proxy, Stage},
    world::{Seen, World},
};

/// What happens to the session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// The proxy is asked to stop gracefully.
    Stopped,
    /// The server's process is killed.
    ServerKilled,
    /// Nobody says anything for longer than the idle timeout.
    Idle,
}

impl Fate {
    pub(crate) const ALL: [Self; 3] = [Self::Stopped, Self::ServerKilled, Self::Idle];

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Stopped => "the proxy is stopped gracefully",
            Self::ServerKilled => "the server is killed",
            Self::Idle => "an idle timeout ends it",
        }
    }

    /// What `onclose` says in a browser: 1006 stands for no Close.
    pub(crate) fn heard(self, proxy: Proxy, stage: &Stage<'_>, world: &mut World) -> Result<String, String> {
        let idle_timeout = if let Self::Idle = self { 2 } else { 3600 };
        let running = proxy.start(&Stage { idle_timeout, ..*stage })?;
        let ids = loads::open(world, running.address, "/echo", 1)?;
        match self {
            Self::Stopped => running.signal(proxy.stop_signal()),
            Self::ServerKilled => world.crash(),
            Self::Idle => {}
        }
        let end = clock::now() + Duration::from_secs(20);
        let mut heard = None;
        while clock::now() < end {
            loads::turn(world, Duration::from_millis(100))?;
            for (id, seen) in std::mem::take(&mut world.seen) {
                match seen {
                    Seen::Close(code, reason) => {
                        world.send(id, &frames::frame(frames::CLOSE, &code.unwrap_or(1000).to_be_bytes(), true));
                        heard = Some((code, reason));
                    }
                    Seen::Ended => {
                        loads::close(world, &ids)?;
                        return Ok(describe(heard));
                    }
                    Seen::Opened | Seen::Message(_) => {}
                }
            }
        }
        Err(format!("{}: {} and 20 s later the client has heard nothing", proxy.name(), self.words()))
    }
}

fn describe(heard: Option<(Option<u16>, String)>) -> String {
    let Some((code, reason)) = heard else { return "1006".into() };
    let code = code.map_or_else(|| "1005".to_owned(), |code| code.to_string());
    let word = reason.split(';').next().unwrap_or_default();
    match (word, reason.contains("retry-after=")) {
        ("", _) => code,
        (_, true) => format!("{code} `{word}`, with a time to come back"),
        (_, false) => format!("{code} `{word}`"),
    }
}
