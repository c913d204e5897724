//! A server in front of a backend, and a client before it, in one process.

use std::{cell::Cell, convert::Infallible, fmt::Write as _, future::Future, net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::SendRequest,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tidegate_config::Address;
use tidegate_proxy::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
    task::spawn_local,
};

/// Runs a test where a [`Server`] may live.
pub(crate) fn on_stage<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(within(test))
}

/// Fails what takes too long.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it happens in time")
}

/// A tidegate of the test's own. Stopped when it is dropped.
pub(crate) struct Gate {
    pub(crate) server: Option<Server>,
    pub(crate) address: SocketAddr,
}

impl Gate {
    /// In front of these servers, with these keys of the route.
    pub(crate) fn new(servers: &[SocketAddr], route: &str) -> Self {
        let mut config = String::from("workers = 1\n[admin]\naddress = \"off\"\n[log]\naccess = \"off\"\n");
        let _ = writeln!(config, "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nupstream = \"backend\"\n{route}");
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let _ = writeln!(config, "[upstream.backend]\nservers = {servers:?}");
        let config = tidegate_config::parse("test.toml", &config).unwrap_or_else(|errors| panic!("{errors}"));
        let server = Server::start(config, Vec::new()).expect("a server");
        let Address::Tcp(address) = server.addresses()[0].clone() else { unreachable!("it listens on TCP") };
        Self { server: Some(server), address }
    }

    /// One request, on a connection of its own.
    pub(crate) async fn ask<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        client(self.address).await.send_request(request).await.expect("an answer")
    }

    /// Everything that comes back for these bytes, until the connection ends.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("room to send");
        let mut answer = Vec::new();
        // A reset behind the answer does not take it back.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

/// A connection to speak HTTP over.
pub(crate) async fn client<B>(address: SocketAddr) -> SendRequest<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a client");
    spawn_local(connection);
    sender
}

pub(crate) fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "example.com")
}

pub(crate) fn empty() -> Full<Bytes> {
    Full::default()
}

/// The whole body.
pub(crate) async fn body(answer: Response<Incoming>) -> Bytes {
    answer.into_body().collect().await.expect("a body to its end").to_bytes()
}

/// Starts an HTTP server; says where it is, and how many connections it has had.
pub(crate) async fn backend<B, F>(
    answer: impl Fn(Request<Incoming>) -> F + Clone + 'static,
) -> (SocketAddr, Rc<Cell<usize>>)
where
    B: Body<Data = Bytes> + 'static,
    B::Error: std::error::Error + Send + Sync,
    F: Future<Output = Response<B>> + 'static,
{
    let (listener, address) = listen().await;
    let connections = Rc::new(Cell::new(0));
    let counted = connections.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.set(counted.get() + 1);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let builder = hyper::server::conn::http1::Builder::new();
            spawn_local(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, connections)
}

/// A server that says what it is told to.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// The next connection, and the request head on it.
pub(crate) async fn arrival(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let head = read_until(&mut stream, "\r\n\r\n").await;
    (stream, head)
}

/// What comes, up to and with these characters or the end.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        match stream.read_u8().await {
            Ok(byte) => text.push(char::from(byte)),
            Err(_) => break,
        }
    }
    text
}
