//! Requests over HTTP/2: those that get no WebSocket, and those that want none.

use harness::certificate::{Authority, Certificate};
use harness::metrics::name;
use harness::raw::pair;
use harness::{Echo, Http2, Setup, Tidegate, Upstream};
use serde_json::json;

use crate::session::assert_ours;

async fn stage(config: &str) -> Option<(Tidegate, Upstream, Http2)> {
    let (certificate, upstream) = (Certificate::new(), Upstream::bind().await);
    let config = format!("{config}\n[upstream.backend]\nservers = [\"{}\"]\n", upstream.address());
    let gate = Setup::new(config).tls(&certificate).start().await;
    let client = Http2::connect(&gate, &certificate).await?;
    Some((gate, upstream, client))
}

const ROUTE: &str = "[[route]]\nname = \"main\"\nupstream = \"backend\"\n";

#[tokio::test]
async fn what_is_no_opening_handshake_gets_its_status() {
    let config = "[[route]]\npath = \"/ws\"\nupstream = \"backend\"\norigins = [\"https://app.example\"]\n\
                  [[route]]\npath = \"/only\"\nupstream = \"backend\"\nwebsocket_only = true\n";
    let Some((gate, _upstream, mut client)) = stage(config).await else { return };
    let asked = |more: serde_json::Value| {
        let mut command = json!({ "do": "websocket", "path": "/ws", "headers": [["origin", "https://app.example"]] });
        command.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        command
    };
    let refused = [
        (asked(json!({ "protocol": "connect-udp" })), 501, "upgrade_token"),
        (asked(json!({ "scheme": "ftp" })), 400, "scheme"),
        (asked(json!({ "end": true })), 400, "body"),
        (asked(json!({ "path": "/elsewhere" })), 404, "no_route"),
        (asked(json!({ "path": "/ws/../admin" })), 400, "path"),
        (asked(json!({ "authority": "a@b" })), 400, "host"),
        (asked(json!({ "without": [":authority"] })), 400, "host"),
        (asked(json!({ "headers": [["sec-websocket-version", "8"]] })), 426, "version"),
        (asked(json!({ "headers": [["origin", "https://evil.example"]] })), 403, "origin"),
        (asked(json!({ "headers": [] })), 403, "origin"),
        (json!({ "do": "request", "path": "/only" }), 426, "upgrade_token"),
        (json!({ "do": "request", "path": "/ws", "method": "TRACE" }), 405, "method"),
    ];
    let count = refused.len();
    for (i, (mut command, status, reason)) in refused.into_iter().enumerate() {
        let name = i.to_string();
        command["name"] = json!(name);
        let answer = client.answer(command).await;
        assert_eq!(answer.status, status, "{reason} {answer:?}");
        assert_eq!(answer.header("sec-websocket-version"), (reason == "version").then_some("13"));
        client.ended(&name).await;
        let labels = [("reason", reason), ("status", &status.to_string())];
        assert!(gate.metrics().await.sum(name::HANDSHAKES, &labels) > 0.0, "{reason}");
    }
    for record in gate.wait_for_records(count).await {
        assert_eq!((record.event(), record.text("http_version")), ("refused", "HTTP/2.0"), "{}", record.line());
    }
    // RFC 8441 section 4 and RFC 9113 section 8.1.1: malformed, and the stream's error alone.
    for (name, malformed) in [
        ("no scheme", asked(json!({ "without": [":scheme"] }))),
        ("no path", asked(json!({ "without": [":path"] }))),
        ("connection", asked(json!({ "headers": [["connection", "upgrade"]] }))),
    ] {
        let mut command = malformed;
        command["name"] = json!(name);
        client.tell(command).await;
        assert_eq!(client.on(name, "reset").await["code"], "PROTOCOL_ERROR");
    }
}

#[tokio::test]
async fn the_upstream_gets_an_upgrade_of_http1_with_our_own_key() {
    let Some((_gate, upstream, mut client)) = stage(ROUTE).await else { return };
    let headers = json!([
        ["sec-websocket-protocol", "chat, other"],
        ["sec-websocket-extensions", "permessage-deflate, x-unknown"],
        ["cookie", "a=1"],
        ["cookie", "b=2"],
        ["user-agent", "test"],
        ["sec-websocket-key", "bm90IG91cnM="],
    ]);
    client.tell(json!({ "do": "websocket", "name": "main", "path": "/ws?room=1", "headers": headers })).await;
    let arrival = upstream.arrival().await;
    assert_eq!(arrival.start_line, "GET /ws?room=1 HTTP/1.1");
    for (name, value) in [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "chat, other"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Cookie", "a=1; b=2"),
        ("User-Agent", "test"),
        ("X-Forwarded-Proto", "https"),
    ] {
        assert_eq!(arrival.header(name), Some(value), "{name}");
    }
    assert_ne!(arrival.header("Sec-WebSocket-Key"), Some("bm90IG91cnM="));
    assert!(arrival.header("Host").is_some_and(|host| host.starts_with("localhost:")));
    let extra = [
        ("Sec-WebSocket-Protocol", "other"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Set-Cookie", "c=3"),
        ("Keep-Alive", "timeout=5"),
    ];
    let _server = arrival.upgrade(&extra).await;
    let answer = client.on("main", "answer").await;
    let mut fields: Vec<_> =
        answer["headers"].as_array().expect("fields").iter().map(|it| it[0].as_str().expect("a name")).collect();
    fields.sort_unstable();
    assert_eq!(fields, [":status", "sec-websocket-extensions", "sec-websocket-protocol", "set-cookie"], "{answer}");
}

#[tokio::test]
async fn a_refusal_of_the_upstream_passes_and_none_at_all_is_ours() {
    let Some((_gate, upstream, mut client)) = stage(ROUTE).await else { return };
    client.ask("main").await;
    let answer =
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwho?";
    upstream.arrival().await.answer(answer).await;
    let event = client.on("main", "answer").await;
    assert!(event["headers"].to_string().contains(r#"["www-authenticate","Basic"]"#), "{event}");
    assert_eq!(client.on("main", "end").await["body"], "who?");

    client.ask("silent").await;
    drop(upstream.arrival().await);
    let event = client.on("silent", "answer").await;
    assert!(event["headers"].to_string().contains(r#"[":status","502"]"#), "{event}");
}

#[tokio::test]
async fn overload_is_told_in_a_close_or_by_a_status() {
    for (on_overload, status) in [("1013", 200), ("503", 503)] {
        let (certificate, upstream) = (Certificate::new(), Upstream::bind().await);
        let config = format!(
            "{ROUTE}queue_timeout = \"200ms\"\non_overload = \"{on_overload}\"\n\
             [upstream.backend]\nservers = [\"{}\"]\nmax_sessions = 1\n",
            upstream.address()
        );
        let gate = Setup::new(config).tls(&certificate).start().await;
        let Some(mut client) = Http2::connect(&gate, &certificate).await else { return };
        client.ask("the one").await;
        let _server = upstream.accept().await;
        client.opened("the one").await;
        let answer = client.answer(json!({ "do": "websocket", "name": "main" })).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 503 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        } else {
            let close = client.close("main").await;
            assert_ours(&close, 1013, "overloaded");
            client.finish("main", &close).await;
        }
    }
}

#[tokio::test]
async fn plain_requests_stream_both_ways() {
    let Some((gate, upstream, mut client)) = stage(ROUTE).await else { return };
    let post = json!({ "do": "request", "name": "post", "method": "POST", "path": "/poll?EIO=4", "body": "40",
                       "headers": [["content-length", "2"], ["te", "trailers"]] });
    client.tell(post).await;
    let mut arrival = upstream.arrival().await;
    assert_eq!(
        (arrival.start_line.as_str(), arrival.header("Content-Length")),
        ("POST /poll?EIO=4 HTTP/1.1", Some("2"))
    );
    assert_eq!((arrival.header("TE"), arrival.header("Transfer-Encoding")), (None, None));
    arrival
        .answer(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX-Seen: yes\r\n\r\n5\r\nfirst\r\n",
        )
        .await;
    // The head and the first part come before the rest is there.
    let event = client.on("post", "answer").await;
    assert!(event["headers"].to_string().contains(r#"["x-seen","yes"]"#), "{event}");
    arrival.answer("6\r\n, rest\r\n0\r\n\r\n").await;
    assert_eq!(client.on("post", "end").await["body"], "first, rest");

    // Without a length its body is chunked upstream.
    client.tell(json!({ "do": "request", "name": "open", "method": "PUT", "body": "part", "open": true })).await;
    let mut arrival = upstream.arrival().await;
    assert_eq!(arrival.header("Transfer-Encoding"), Some("chunked"));
    client.tell(json!({ "do": "end", "name": "open" })).await;
    arrival.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
    client.ended("open").await;
    let sent = arrival.rest_to_end().await;
    assert_eq!(String::from_utf8_lossy(&sent), "4\r\npart\r\n0\r\n\r\n");

    client.tell(json!({ "do": "request", "name": "head", "method": "HEAD" })).await;
    let mut arrival = upstream.arrival().await;
    arrival.answer("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nConnection: close\r\n\r\n").await;
    let event = client.on("head", "answer").await;
    assert!(event["headers"].to_string().contains(r#"["content-length","1234"]"#), "{event}");
    client.ended("head").await;
    for record in gate.wait_for_records(3).await {
        assert_eq!((record.event(), record.text("http_version")), ("http", "HTTP/2.0"), "{}", record.line());
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_not_taken_for_whole() {
    let Some((_gate, upstream, mut client)) = stage(ROUTE).await else { return };
    client.tell(json!({ "do": "request", "name": "main" })).await;
    let mut arrival = upstream.arrival().await;
    arrival.answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    client.on("main", "answer").await;
    drop(arrival);
    assert_eq!(client.on("main", "reset").await["code"], "INTERNAL_ERROR");
}

#[tokio::test]
async fn a_request_that_is_taken_back_ends_upstream() {
    let Some((gate, upstream, mut client)) = stage(ROUTE).await else { return };
    client.tell(json!({ "do": "request", "name": "poll" })).await;
    let arrival = upstream.arrival().await;
    client.tell(json!({ "do": "reset", "name": "poll" })).await;
    assert_eq!(arrival.rest_to_end().await, b"");
    // And while its answer is on its way.
    client.tell(json!({ "do": "request", "name": "stream" })).await;
    let mut arrival = upstream.arrival().await;
    arrival.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    client.on("stream", "answer").await;
    client.tell(json!({ "do": "reset", "name": "stream" })).await;
    assert_eq!(arrival.rest_to_end().await, b"");
    let records = gate.wait_for_records(2).await;
    assert_eq!((records[0].number("status"), records[1].number("status")), (0.0, 200.0));
}

#[tokio::test]
async fn clients_of_http1_are_served_on_the_same_listener_and_http2_can_be_off() {
    let (certificate, echo) = (Certificate::new(), Echo::start().await);
    for keys in ["", "http2 = false"] {
        let gate = Setup::proxy_to(echo.address()).tls(&certificate).listener(keys).start().await;
        let Some(python) = harness::Runtime::python() else { return };
        let options = json!({ "port": gate.address().port(), "ca": certificate.certificate_file() });
        let mut script = python.script("http2-client", &options);
        let agreed = if keys.is_empty() { "h2" } else { "http/1.1" };
        assert_eq!(script.event("connected").await["alpn"], agreed);
        let mut client = harness::Handshake::to(gate.address()).open_tls(&certificate).await;
        client.send(harness::Frame::text("over HTTP/1.1")).await;
        assert_eq!(client.text().await, "over HTTP/1.1");
    }
    // Without TLS there is nothing to choose.
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let _both = pair(gate.address(), &upstream).await;
}

#[tokio::test]
async fn a_request_for_a_host_of_another_certificate_is_misdirected() {
    let (authority, upstream) = (Authority::new(), Upstream::bind().await);
    let [default, site, api] =
        [&["localhost"][..], &["www.example", "*.example"], &["api.example"]].map(|names| authority.issue(names));
    let others = format!("sni = [{{ {} }}, {{ {} }}]", site.keys(), api.keys());
    let listener = format!("tls = {{ {}, {others} }}", default.keys());
    let gate = Setup::proxy_to(upstream.address()).listener(listener).start().await;
    tokio::spawn(async move {
        loop {
            let _ = upstream.arrival().await.try_answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    // Whom a connection was opened for, the hosts that it is for, and those that it is not.
    let localhost = format!("localhost:{}", gate.address().port());
    let cases: [(&str, &[&str], &[&str]); 3] = [
        // Nobody has a certificate of another's own: another connection would be no better.
        ("localhost", &[&localhost, "127.0.0.1", "unknown.test"], &["www.example", "api.example"]),
        // A wildcard is for whoever it covers, and so a browser comes with it.
        (
            "www.example",
            &["WWW.example", "mail.example:443", "api.example"],
            &["localhost", "unknown.test", "a.b.example"],
        ),
        ("api.example", &["api.example", "api.example."], &["www.example", "mail.example", "127.0.0.1"]),
    ];
    for (opened, good, bad) in cases {
        let options = json!({ "sni": opened, "ca": authority.file() });
        let Some(mut client) = Http2::connect_with(&gate, &default, options).await else { return };
        for (host, status) in good.iter().map(|host| (host, 200)).chain(bad.iter().map(|host| (host, 421))) {
            let answer = client.answer(json!({ "do": "request", "name": host, "authority": host })).await;
            assert_eq!(answer.status, status, "{opened} {host}: {answer:?}");
        }
        // The connection goes on, and a WebSocket is no exception.
        let socket = json!({ "do": "websocket", "name": "socket", "authority": bad[0] });
        assert_eq!(client.answer(socket).await.status, 421);
        let again = json!({ "do": "request", "name": "again", "authority": good[0] });
        assert_eq!(client.answer(again).await.status, 200);
    }
    assert_eq!(gate.metrics().await.sum(name::HANDSHAKES, &[("reason", "misdirected"), ("status", "421")]), 11.0);
}
