//! Commands to the process that runs: one request to its admin socket.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tidegate_proxy::Verb;
use tokio::{net::UnixStream, runtime::Builder};

use crate::{cli, run, source::Source};

/// Asks, and says what came of it.
pub(crate) fn ask(from: &cli::From, verb: Verb) -> ExitCode {
    let Some(source) = Source::find(from.config.as_deref()) else { return run::no_config() };
    // A file that is wrong is the process's to find: it says so, and who asks may not even read it.
    let socket = match source.parse() {
        Ok(config) => config.admin.socket.map(|socket| socket.as_ref().to_path_buf()),
        Err(errors) => return run::bad_config(&errors),
    };
    let Some(socket) = socket else {
        let signal = match verb {
            Verb::Reload => "SIGHUP",
            Verb::Drain => "SIGTERM",
            Verb::Upgrade => "SIGUSR2",
        };
        eprintln!("error: the configuration has no [admin] socket: set it, or send {signal} to the process");
        return ExitCode::FAILURE;
    };
    match post(&socket, verb) {
        Ok((StatusCode::OK, said)) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Ok((_, why)) => {
            eprint!("error: {why}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {}: {error}: does tidegate run with this configuration?", socket.display());
            ExitCode::FAILURE
        }
    }
}

fn post(socket: &Path, verb: Verb) -> io::Result<(StatusCode, String)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let response = request(socket.to_owned(), verb).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    })
}

async fn request(socket: PathBuf, verb: Verb) -> io::Result<Response<Incoming>> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::post(format!("/{}", verb.word())).header(header::HOST, "localhost");
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}
