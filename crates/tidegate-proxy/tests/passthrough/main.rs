//! Plain HTTP through a running server: what passes, how, and what does not.

mod stage;

use std::{
    cell::RefCell,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use stage::{Gate, arrival, backend, body, client, empty, get, listen, on_stage, read_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

const MIB: usize = 1 << 20;

/// A body of unknown length.
struct Chunks(mpsc::UnboundedReceiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn chunks() -> (mpsc::UnboundedSender<Bytes>, Chunks) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Chunks(receiver))
}

async fn echo(request: Request<Incoming>) -> Response<Incoming> {
    let length = request.headers().get("content-length").cloned();
    let mut answer = Response::new(request.into_body());
    length.map(|length| answer.headers_mut().insert("x-length", length));
    answer
}

fn noise() -> Bytes {
    (0..MIB).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn sized_and_chunked_bodies_pass_unchanged() {
    on_stage(async {
        let (address, _) = backend(echo).await;
        let gate = Gate::new(&[address], "");
        for method in [Method::POST, Method::PUT] {
            let sized = get("/").method(method).body(Full::new(noise())).unwrap();
            let answer = gate.ask(sized).await;
            assert_eq!(answer.headers()["x-length"], MIB.to_string());
            assert_eq!(body(answer).await, noise());
        }
        // A GET may have a body too, and it is not to be left on the connection.
        for method in [Method::POST, Method::GET] {
            let (sender, chunked) = chunks();
            noise().chunks(100_000).for_each(|chunk| sender.send(Bytes::copy_from_slice(chunk)).unwrap());
            drop(sender);
            let request = get("/").method(method).header("transfer-encoding", "chunked").body(chunked).unwrap();
            let answer = gate.ask(request).await;
            assert!(!answer.headers().contains_key("x-length"));
            assert_eq!(body(answer).await, noise());
        }
        let none = gate.ask(get("/").method(Method::POST).header("content-length", "0").body(empty()).unwrap()).await;
        assert_eq!(none.headers()["x-length"], "0");
    });
}

#[test]
fn connections_are_used_again_on_both_sides() {
    on_stage(async {
        let (address, connections) = backend(echo).await;
        let gate = Gate::new(&[address], "");
        let mut client = client(gate.address).await;
        for text in ["one", "two", "three"] {
            let answer = client.send_request(get("/").body(Full::from(text)).unwrap()).await.unwrap();
            assert_eq!(body(answer).await, text);
        }
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn answers_without_a_body() {
    on_stage(async {
        let (address, connections) = backend(async |request: Request<Incoming>| {
            let status = match request.uri().path() {
                "/204" => 204,
                "/304" => 304,
                _ => 200,
            };
            let text = if status == 200 { "hello" } else { "" };
            Response::builder().status(status).header("etag", "\"1\"").body(Full::<Bytes>::from(text)).unwrap()
        })
        .await;
        let gate = Gate::new(&[address], "");
        let mut client = client(gate.address).await;
        for (method, path, status, length) in [
            (Method::HEAD, "/", 200, Some("5")),
            (Method::GET, "/204", 204, None),
            (Method::GET, "/304", 304, None),
            (Method::GET, "/", 200, Some("5")),
        ] {
            let request = get(path).method(method.clone()).body(empty()).unwrap();
            let answer = client.send_request(request).await.unwrap();
            let said = answer.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
            assert_eq!((answer.status().as_u16(), said.as_deref()), (status, length), "{method} {path}");
            assert_eq!(answer.headers()["etag"], "\"1\"");
            assert_eq!(body(answer).await, if (method, path) == (Method::GET, "/") { "hello" } else { "" });
        }
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn a_stream_arrives_as_it_is_sent() {
    on_stage(async {
        let (sender, events) = chunks();
        let events = Rc::new(RefCell::new(Some(events)));
        let (address, _) = backend(move |_| {
            let events = events.borrow_mut().take().expect("one request");
            async { Response::builder().header("content-type", "text/event-stream").body(events).unwrap() }
        })
        .await;
        let gate = Gate::new(&[address], "handshake_timeout = \"300ms\"");
        let mut answer = gate.ask(get("/events").body(empty()).unwrap()).await;
        for text in ["data: 1\n\n", "data: 2\n\n"] {
            // Only now, and the next one only when this one is there.
            sender.send(text.into()).unwrap();
            assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), text);
        }
        // Who leaves ends it upstream.
        drop(answer);
        stage::within(sender.closed()).await;
    });
}

#[test]
fn an_upload_reaches_the_backend_as_it_is_sent() {
    on_stage(async {
        let (address, _) = backend(echo).await;
        let gate = Gate::new(&[address], "");
        let (sender, upload) = chunks();
        sender.send("one".into()).unwrap();
        let mut answer = gate.ask(get("/").method(Method::POST).body(upload).unwrap()).await;
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        sender.send("two".into()).unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        drop(sender);
        assert!(answer.frame().await.is_none());
    });
}

#[test]
fn the_backend_gets_a_clean_request() {
    on_stage(async {
        let (listener, address) = listen().await;
        let gate = Gate::new(&[address], "");
        let request = "POST /a%20b?x=1 HTTP/1.1\r\nHost: Example.com:80\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
                       X_Alias: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Prefix: /x\r\nForwarded: for=6.6.6.6\r\n\
                       Upgrade: h2c\r\nHTTP2-Settings: AAAA\r\nTE: trailers\r\nCookie: a=b\r\nKeep-Alive: 5\r\n\
                       Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
        let backend = async {
            let (mut stream, head) = arrival(&listener).await;
            let mut body = [0; 2];
            stream.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"hi");
            let answer = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nConnection: x-gone\r\n\
                          X-Gone: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
            head.to_lowercase()
        };
        let (answer, head) = tokio::join!(gate.raw(request), backend);
        let mut lines: Vec<&str> = head.trim_end().lines().collect();
        assert_eq!(lines.remove(0), "post /a%20b?x=1 http/1.1");
        lines.sort_unstable();
        let id = lines.pop().and_then(|line| line.strip_prefix("x-request-id: ")).expect("sorted to the end");
        assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(
            lines,
            [
                "content-length: 2",
                "cookie: a=b",
                "host: example.com:80",
                "http2-settings: aaaa",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: example.com:80",
                "x-forwarded-port: 80",
                "x-forwarded-proto: http",
                "x-real-ip: 127.0.0.1",
            ]
        );
        let answer = answer.to_lowercase();
        assert!(answer.starts_with("http/1.1 100 continue\r\n\r\nhttp/1.1 200 ok\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        assert!(answer.contains("set-cookie: a=1\r\n") && answer.contains("set-cookie: b=2\r\n"), "{answer}");
        assert!(!answer.contains("x-gone") && !answer.contains("keep-alive") && !answer.contains("link:"), "{answer}");
    });
}

#[test]
fn nothing_is_smuggled() {
    on_stage(async {
        let inner = "GET /inner HTTP/1.1\r\nHost: x\r\n\r\n";
        let chunked = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let paths = seen.clone();
        let (address, _) = backend(move |request: Request<Incoming>| {
            paths.borrow_mut().push(request.uri().path().to_owned());
            async {
                let length = request.into_body().collect().await.unwrap().to_bytes().len();
                Response::new(Full::<Bytes>::from(format!("got {length}")))
            }
        })
        .await;
        let gate = Gate::new(&[address], "");
        let length = format!("got {}", inner.len());
        let h2c = format!("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: {}", inner.len());
        let cases = [
            // (name, fields, what follows, status, what the backend read)
            ("both lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked", chunked.as_str(), 200, length.as_str()),
            ("two lengths", "Content-Length: 0\r\nContent-Length: 40", inner, 400, ""),
            ("xchunked", "Transfer-Encoding: xchunked", chunked.as_str(), 400, ""),
            ("chunked, identity", "Transfer-Encoding: chunked, identity", chunked.as_str(), 400, ""),
            ("gzip, chunked", "Transfer-Encoding: gzip, chunked", chunked.as_str(), 501, ""),
            ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", chunked.as_str(), 501, ""),
            ("space before the colon", "Transfer-Encoding : chunked", chunked.as_str(), 400, ""),
            ("folded", "Transfer-Encoding:\r\n chunked", chunked.as_str(), 400, ""),
            ("h2c", &h2c, inner, 200, &length),
        ];
        for (name, fields, rest, status, read) in cases {
            let request = format!("POST /outer HTTP/1.1\r\nHost: x\r\n{fields}\r\nConnection: close\r\n\r\n{rest}");
            let answer = gate.raw(&request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
            assert!(answer.ends_with(read), "{name}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        }
        assert_eq!(*seen.borrow(), ["/outer", "/outer"]);
    });
}

#[test]
fn what_is_no_request_for_a_resource_is_405() {
    on_stage(async {
        let (_listener, address) = listen().await;
        let gate = Gate::new(&[address], "");
        for line in ["CONNECT example.com:443 HTTP/1.1", "TRACE / HTTP/1.1"] {
            let answer = gate.raw(&format!("{line}\r\nHost: example.com:443\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        }
    });
}

#[test]
fn bad_answers_are_502() {
    on_stage(async {
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
        for answer in [switching, "no HTTP\r\n\r\n", coded, ""] {
            let (listener, address) = listen().await;
            let gate = Gate::new(&[address], "");
            let backend = async {
                let (mut stream, _) = arrival(&listener).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let (reply, ()) = tokio::join!(gate.ask(get("/").body(empty()).unwrap()), backend);
            assert_eq!(reply.status(), StatusCode::BAD_GATEWAY, "{answer:?}");
        }
    });
}

#[test]
fn an_answer_that_is_cut_off_is_not_made_whole() {
    on_stage(async {
        for framing in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
            let (listener, address) = listen().await;
            let gate = Gate::new(&[address], "");
            let backend = async {
                let (mut stream, _) = arrival(&listener).await;
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n3\r\nabc").as_bytes()).await.unwrap();
            };
            let (reply, ()) = tokio::join!(gate.ask(get("/").body(empty()).unwrap()), backend);
            assert!(reply.into_body().collect().await.is_err(), "{framing}");
        }
    });
}

/// Where nobody listens.
async fn nowhere() -> SocketAddr {
    listen().await.1
}

#[test]
fn a_server_that_is_down_is_passed_over() {
    on_stage(async {
        let (address, _) = backend(echo).await;
        let gate = Gate::new(&[nowhere().await, address, nowhere().await], "");
        for _ in 0..20 {
            let answer = gate.ask(get("/").method(Method::POST).body(Full::from("whole")).unwrap()).await;
            assert_eq!(body(answer).await, "whole");
        }
        let gate = Gate::new(&[nowhere().await, nowhere().await], "");
        assert_eq!(gate.ask(get("/").body(empty()).unwrap()).await.status(), StatusCode::BAD_GATEWAY);
    });
}

#[test]
fn a_connection_that_ended_meanwhile_is_replaced() {
    on_stage(async {
        let (listener, address) = listen().await;
        let gate = Gate::new(&[address], "");
        let mut client = client(gate.address).await;
        for text in ["1", "2", "3"] {
            let backend = async {
                let (mut stream, _) = arrival(&listener).await;
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{text}").as_bytes())
                    .await
                    .unwrap();
            };
            let asked = client.send_request(get("/").body(empty()).unwrap());
            let (answer, ()) = tokio::join!(asked, backend);
            assert_eq!(body(answer.unwrap()).await, text);
        }
    });
}

#[test]
fn a_server_that_does_not_answer_is_504() {
    on_stage(async {
        let (listener, address) = listen().await;
        let gate = Gate::new(&[address], "handshake_timeout = \"200ms\"");
        let (answer, (mut stream, _)) = tokio::join!(gate.ask(get("/").body(empty()).unwrap()), arrival(&listener));
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(read_until(&mut stream, "x").await, "", "the request is over upstream, too");
    });
}

#[test]
fn a_client_that_leaves_ends_its_request() {
    on_stage(async {
        let (listener, address) = listen().await;
        let gate = Gate::new(&[address], "");
        let mut client = TcpStream::connect(gate.address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (mut stream, _) = arrival(&listener).await;
        drop(client);
        assert_eq!(read_until(&mut stream, "x").await, "");
    });
}

#[test]
fn only_websockets_where_a_route_says_so() {
    on_stage(async {
        let (_listener, address) = listen().await;
        let gate = Gate::new(&[address], "websocket_only = true");
        let answer = gate.ask(get("/").body(empty()).unwrap()).await;
        assert_eq!(
            (answer.status(), &answer.headers()["upgrade"]),
            (StatusCode::UPGRADE_REQUIRED, &"websocket".parse().unwrap())
        );
    });
}

#[test]
fn a_foreign_page_gets_nothing_where_a_route_lists_origins() {
    on_stage(async {
        let (address, _) = backend(echo).await;
        let gate = Gate::new(&[address], "origins = [\"https://app.example.com\"]");
        for (origin, status) in
            [(None, 200), (Some("https://app.example.com"), 200), (Some("https://evil.example"), 403)]
        {
            let request = origin.into_iter().fold(get("/"), |request, origin| request.header("origin", origin));
            assert_eq!(gate.ask(request.body(empty()).unwrap()).await.status(), status, "{origin:?}");
        }
    });
}

#[test]
fn a_drain_waits_for_answers_and_takes_no_more_requests() {
    on_stage(async {
        let (listener, address) = listen().await;
        let gate = Gate::new(&[address], "");
        let (mut under_way, mut idle) = (client(gate.address).await, client(gate.address).await);
        let asked = under_way.send_request(get("/").body(empty()).unwrap());
        let rest = async {
            let (mut stream, _) = arrival(&listener).await;
            let server = gate.server.as_ref().unwrap();
            let order = async {
                let refused = idle.send_request(get("/").body(empty()).unwrap()).await.unwrap();
                assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            };
            tokio::join!(server.drain(), order)
        };
        let (answer, _) = tokio::join!(async { asked.await.unwrap() }, rest);
        assert_eq!(answer.headers()["connection"], "close");
        assert_eq!(body(answer).await, "ok");
    });
}
