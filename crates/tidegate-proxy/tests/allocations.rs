//! A message through a running proxy allocates nothing.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha1::{Digest, Sha1};
use tidegate_config::Address;
use tidegate_proxy::Server;

/// The system's allocator, and how often it was asked: by all threads, the worker's and the log's among them.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator cannot be written without; this one only counts and passes on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const MASK: [u8; 4] = [1, 2, 3, 4];

/// Reads a head, byte by byte, so that nothing behind it is taken.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head in ASCII")
}

/// A server for one client, which echoes every message of `masked` bytes.
fn serve(listener: &TcpListener, masked: usize) {
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_nodelay(true).expect("an open socket");
    let request = head(&mut stream);
    let field = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    let accept = BASE64_STANDARD.encode(Sha1::digest(format!("{field}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).expect("room for an answer");
    let mut frame = vec![0; masked];
    // The end of the stream is the end of the test.
    while stream.read_exact(&mut frame).is_ok() {
        // Behind two bytes of header and four of mask.
        frame[6..].iter_mut().zip(MASK.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        frame[5] = frame[1] & 0x7f;
        frame[4] = frame[0];
        if stream.write_all(&frame[4..]).is_err() {
            return;
        }
    }
}

/// A proxy in this process.
fn start(server: SocketAddr) -> SocketAddr {
    let text = format!(
        "workers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nupstream = \"u\"\n[upstream.u]\n\
         servers = [\"{server}\"]\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n"
    );
    let config = tidegate_config::parse("test", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.expect("a runtime").block_on(async {
            let server = Server::start(config, Vec::new()).expect("a server");
            tell.send(server.addresses().remove(0)).expect("a test that waits");
            std::future::pending::<()>().await;
        });
    });
    match told.recv_timeout(PATIENCE).expect("a server that starts") {
        Address::Tcp(address) => address,
        Address::Unix(path) => panic!("listens on {}", path.display()),
    }
}

#[test]
fn a_message_allocates_nothing() {
    const MESSAGES: u64 = 2000;
    let payload = *b"thirty-two bytes of plain text..";
    let mut message = vec![0x81, 0x80 | payload.len() as u8];
    message.extend(MASK);
    message.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("a bound socket");
    let masked = message.len();
    thread::spawn(move || serve(&listener, masked));
    let proxy = start(server);
    let mut client = TcpStream::connect(proxy).expect("a proxy");
    client.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    client.set_nodelay(true).expect("an open socket");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).expect("room for a request");
    assert!(head(&mut client).starts_with("HTTP/1.1 101"));

    let mut answer = vec![0; masked - 4];
    let mut echo = |times: u64| {
        for _ in 0..times {
            client.write_all(&message).expect("room for a message");
            client.read_exact(&mut answer).expect("its echo");
        }
        assert_eq!(answer[2..], payload);
    };
    // The first ones bring about what is kept: buffers, tables that grow.
    echo(100);
    let before = COUNT.load(Relaxed);
    echo(MESSAGES);
    let allocations = COUNT.load(Relaxed) - before;
    // What is done by the clock, by the second, may allocate; a message may not.
    assert!(allocations < MESSAGES / 100, "{allocations} allocations for {MESSAGES} messages, there and back");
}
