//! `tidegate demo`: a backend, a blind tunnel and tidegate in front of it, and a page on which a person makes things
//! go wrong and sees what the browser's `onclose` got through each of the two.

mod backend;
mod observe;
mod page;
mod stage;
mod tunnel;

use std::{error::Error, io, process::ExitCode};

use tidegate_config::{AccessLog, Log, Place};
use tokio::{
    net::TcpListener,
    runtime::{Builder, LocalOptions},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::channel,
};

use crate::{cli, logging};
use page::Page;
use stage::Stage;

/// Most sessions that tidegate lets through: few, so that a person can reach the limit by hand.
const MAX_SESSIONS: usize = 4;

/// Plays until it is interrupted.
pub(crate) fn demo(what: &cli::Demo) -> ExitCode {
    let (access, place) = (AccessLog::Off, Place::default());
    logging::start(&Log { access, place, level: "warn".to_owned(), json: Some(false) });
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(live(what))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn live(what: &cli::Demo) -> Result<(), Box<dyn Error>> {
    let mut stop = Stop::new()?;
    let listener = TcpListener::bind(what.listen)
        .await
        .map_err(|error| format!("{}: {error}; choose another address with --listen", what.listen))?;
    let address = listener.local_addr()?;
    let mut stage = Stage::start(address.ip()).await?;
    let (ask, mut asked) = channel(1);
    let page =
        Page { board: stage.board(), ask, ports: stage.ports(), access_log: stage.access_log(), admin: stage.admin() };
    println!("http://{address}/");
    eprintln!("Open this page in a browser, press its buttons, and compare what the two sides are told.");
    if let Some(admin) = stage.admin() {
        eprintln!("Metrics: http://{admin}/metrics");
    }
    eprintln!("Ctrl-C drains tidegate and ends the demo: leave a session open to see that too.");
    tokio::select! {
        () = page::serve(listener, page) => {}
        () = stage.play(&mut asked) => {}
        () = stop.wait() => {}
    }
    stage.end(stop.wait()).await;
    Ok(())
}

/// What asks a process to end.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
