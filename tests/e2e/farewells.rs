//! How a connection ends that was answered and became no session: in order, so that nothing of the answer is lost. And
//! TLS that its client has ended without a Close.

use harness::certificate::Certificate;
use harness::ports::free_address;
use harness::{Echo, Handshake, Setup, Tidegate, Upstream, http, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than tidegate and both ends' sockets hold before somebody reads.
const MORE: usize = 12 << 20;

/// An upstream that takes connections and answers nothing, and a process before it and before one that is not there.
async fn stage(setup: impl FnOnce(Setup) -> Setup) -> (Tidegate, Upstream) {
    let mute = Upstream::bind().await;
    let gone = free_address();
    let config = format!(
        "[[route]]\nname = \"gone\"\npath = \"/gone\"\nupstream = \"gone\"\norigins = [\"https://a.example\"]\n\
         [[route]]\nname = \"mute\"\npath = \"/mute\"\nupstream = \"mute\"\nhandshake_timeout = \"300ms\"\n\
         [upstream.gone]\nservers = [\"{gone}\"]\n[upstream.mute]\nservers = [\"{}\"]\n\
         [defaults]\non_overload = \"503\"\n",
        mute.address()
    );
    let gate = setup(Setup::new(config)).start().await;
    (gate, mute)
}

/// Requests that become no session, with the status that says so.
fn refused(gate: &Tidegate) -> Vec<(u16, Vec<u8>)> {
    let to = |path| Handshake::to(gate.address()).path(path);
    let plain = |path| to(path).without("Upgrade").without("Connection");
    vec![
        (404, to("/").encode()),
        (404, plain("/").encode()),
        // Of no protocol that is spoken here, and so a plain request: hyper prepares an upgrade nevertheless.
        (404, to("/").replace("Upgrade", "h2c").encode()),
        (403, to("/gone").header("Origin", "https://b.example").encode()),
        (502, to("/gone").header("Origin", "https://a.example").encode()),
        (504, to("/mute").encode()),
        (426, to("/gone").replace("Sec-WebSocket-Version", "12").encode()),
        (405, to("/gone").method("POST").encode()),
        // hyper's own.
        (400, b"GET / HTTP/1.1\r\nno field\r\n\r\n".to_vec()),
        (431, to("/").header("X-Long", &"x".repeat(20_000)).encode()),
    ]
}

/// Sends a request and `more`; gives the answer's status. The answer is whole, and the end behind it is no reset and,
/// over TLS, no truncation.
async fn status(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8], more: usize) -> u16 {
    let exchange = async {
        stream.write_all(request).await?;
        stream.write_all(&vec![b'x'; more]).await?;
        let (response, rest) = http::read_response(&mut stream).await?;
        assert_eq!(rest, b"");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        assert_eq!(rest, b"");
        std::io::Result::Ok(response.status)
    };
    within("an answer and an end in order", exchange).await.expect("an answer and an end in order")
}

#[tokio::test]
async fn a_refusal_over_tls_ends_with_close_notify() {
    let certificate = Certificate::new();
    let (gate, _mute) = stage(|setup| setup.tls(&certificate)).await;
    for (wanted, request) in refused(&gate) {
        let said = request[..request.len().min(200)].escape_ascii().to_string();
        for more in [0, MORE] {
            let tcp = TcpStream::connect(gate.address()).await.expect("a connection");
            let stream = certificate.connect(tcp).await;
            let status = status(stream, &request, more).await;
            // Once it has failed, an upstream rests.
            let rests = more > 0 && (wanted, status) == (502, 503);
            assert!(status == wanted || rests, "{status}, {more} bytes behind {said}");
        }
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_goes_on_sending() {
    let (gate, _mute) = stage(|setup| setup).await;
    for (wanted, request) in refused(&gate) {
        let said = request[..request.len().min(200)].escape_ascii().to_string();
        let stream = TcpStream::connect(gate.address()).await.expect("a connection");
        assert_eq!(status(stream, &request, MORE).await, wanted, "behind {said}");
    }
}

#[tokio::test]
async fn who_never_stops_sending_is_not_listened_to_for_ever() {
    let (gate, _mute) = stage(|setup| setup).await;
    let mut stream = TcpStream::connect(gate.address()).await.expect("a connection");
    stream.write_all(&Handshake::to(gate.address()).encode()).await.expect("room to send");
    within("the end of it", async { while stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {} }).await;
}

#[tokio::test]
async fn tls_that_its_client_ends_is_ended_back() {
    let (certificate, echo) = (Certificate::new(), Echo::start().await);
    let gate = Setup::proxy_to(echo.address()).tls(&certificate).start().await;
    let open = async || {
        let tcp = TcpStream::connect(gate.address()).await.expect("a connection");
        let mut stream = certificate.connect(tcp).await;
        stream.write_all(&Handshake::to(gate.address()).encode()).await.expect("room to send");
        let (response, rest) = http::read_response(&mut stream).await.expect("an answer");
        assert_eq!((response.status, rest), (101, Vec::new()));
        stream
    };
    let ended = async |mut stream: tokio_rustls::client::TlsStream<TcpStream>| {
        // Without `close_notify` this is an error.
        within("the end of TLS", stream.read_to_end(&mut Vec::new())).await.expect("an end in order");
    };
    // close_notify and FIN.
    let mut stream = open().await;
    stream.shutdown().await.expect("room to send");
    ended(stream).await;
    // close_notify alone.
    let mut stream = open().await;
    stream.get_mut().1.send_close_notify();
    stream.flush().await.expect("room to send");
    ended(stream).await;
}
