//! Bytes that break RFC 6455: whoever sent them hears what was wrong, the other side hears whose fault it was.

use harness::metrics::name;
use harness::raw::{opcode, pair};
use harness::{Frame, Peer};

use crate::session::{Session, assert_ours};

/// Bytes as the offender sends them, given how that side encodes a frame.
type Offence = fn(&dyn Fn(Frame) -> Vec<u8>) -> Vec<u8>;

/// What is sent, the offender's code and cause.
const OFFENCES: &[(&str, Offence, u16, &str)] = &[
    ("RSV1 without an extension", |e| e(Frame::text("x").with_rsv(0b100)), 1002, "protocol-error"),
    ("RSV2", |e| e(Frame::text("x").with_rsv(0b010)), 1002, "protocol-error"),
    ("RSV3", |e| e(Frame::text("x").with_rsv(0b001)), 1002, "protocol-error"),
    ("reserved data opcode", |e| e(Frame::new(0x3, "x")), 1002, "protocol-error"),
    ("reserved control opcode", |e| e(Frame::new(0xB, "x")), 1002, "protocol-error"),
    ("continuation of nothing", |e| e(Frame::new(opcode::CONTINUATION, "x")), 1002, "protocol-error"),
    (
        "message inside a message",
        |e| [e(Frame::text("x").unfinished()), e(Frame::text("y"))].concat(),
        1002,
        "protocol-error",
    ),
    ("fragmented ping", |e| e(Frame::new(opcode::PING, "x").unfinished()), 1002, "protocol-error"),
    ("ping of 126 bytes", |e| e(Frame::new(opcode::PING, vec![0; 126])), 1002, "protocol-error"),
    ("fragmented Close", |e| e(Frame::close(1000, "").unfinished()), 1002, "protocol-error"),
    ("Close of one byte", |e| e(Frame::new(opcode::CLOSE, [3])), 1002, "protocol-error"),
    (
        "Close of 126 bytes",
        |e| e(Frame::new(opcode::CLOSE, [&[3, 232], &[b'x'; 124][..]].concat())),
        1002,
        "protocol-error",
    ),
    ("Close with 0", |e| e(Frame::close(0, "")), 1002, "protocol-error"),
    ("Close with 999", |e| e(Frame::close(999, "")), 1002, "protocol-error"),
    ("Close with 1004", |e| e(Frame::close(1004, "")), 1002, "protocol-error"),
    ("Close with 1005", |e| e(Frame::close(1005, "")), 1002, "protocol-error"),
    ("Close with 1006", |e| e(Frame::close(1006, "")), 1002, "protocol-error"),
    ("Close with 1015", |e| e(Frame::close(1015, "")), 1002, "protocol-error"),
    ("Close with 1016", |e| e(Frame::close(1016, "")), 1002, "protocol-error"),
    ("Close with 2999", |e| e(Frame::close(2999, "")), 1002, "protocol-error"),
    ("Close with 5000", |e| e(Frame::close(5000, "")), 1002, "protocol-error"),
    (
        "Close with a reason that is not UTF-8",
        |e| e(Frame::new(opcode::CLOSE, [3, 232, 0xc3, 0x28])),
        1007,
        "protocol-error",
    ),
    ("text that is not UTF-8", |e| e(Frame::new(opcode::TEXT, [0xc3, 0x28])), 1007, "invalid-utf8"),
    (
        "text that ends inside a character",
        |e| [e(Frame::new(opcode::TEXT, [0xc3]).unfinished()), e(Frame::new(opcode::CONTINUATION, ""))].concat(),
        1007,
        "invalid-utf8",
    ),
];

/// Lengths that no encoder of ours writes: minimal-length and top-bit breaches of section 5.2.
fn odd_lengths(mask_bit: u8) -> [(&'static str, Vec<u8>); 3] {
    [
        ("16-bit length below 126", vec![0x82, mask_bit | 126, 0, 125]),
        ("64-bit length below 65536", vec![0x82, mask_bit | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        ("64-bit length with the top bit", vec![0x82, mask_bit | 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
    ]
}

/// Reads to the Close, past what of the offending message was forwarded before the offence was known.
async fn expect_close(peer: &mut Peer, code: u16, cause: &str) {
    let close = peer.close_after_data().await;
    assert_ours(&close, code, cause);
    peer.answer_close(&close).await;
}

/// Every offence was counted once, by who committed it.
async fn assert_counted(stage: &Session, side: &str, offences: usize) {
    let metrics = stage.gate.metrics().await;
    assert_eq!(metrics.sum(name::PROTOCOL_ERRORS, &[("side", side)]), offences as f64);
    assert_eq!(metrics.sum(name::PROTOCOL_ERRORS, &[]), offences as f64);
}

#[tokio::test]
async fn client_breaks_the_protocol_then_upstream_gets_1001() {
    const MASK: [u8; 4] = [5, 6, 7, 8];
    let mut stage = Session::open().await;
    let mut cases: Vec<(&str, Vec<u8>, u16, &str)> = OFFENCES
        .iter()
        .map(|(name, offence, code, cause)| (*name, offence(&|frame| frame.encode(Some(MASK))), *code, *cause))
        .collect();
    cases.extend(odd_lengths(0x80).map(|(name, header)| (name, [&header[..], &MASK].concat(), 1002, "protocol-error")));
    cases.push(("no mask", Frame::text("x").encode(None), 1002, "protocol-error"));

    let count = cases.len();
    for (name, bytes, code, cause) in cases {
        println!("the client sends: {name}");
        let (mut client, mut server) = pair(stage.gate.address(), &stage.upstream).await;
        client.send(Frame::text("lawful")).await;
        client.send_bytes(&bytes).await;
        assert_eq!(server.text().await, "lawful");
        let close = server.close_after_data().await;
        assert_ours(&close, 1001, "client-protocol-error");
        server.send(Frame::text("what the lawful one earned")).await;
        server.answer_close(&close).await;
        assert_eq!(client.text().await, "what the lawful one earned");
        expect_close(&mut client, code, cause).await;
    }
    assert_counted(&stage, "client", count).await;
    stage.exchange().await;
}

#[tokio::test]
async fn upstream_breaks_the_protocol_then_client_gets_1014() {
    let mut stage = Session::open().await;
    let mut cases: Vec<(&str, Vec<u8>, u16, &str)> = OFFENCES
        .iter()
        .map(|(name, offence, code, cause)| (*name, offence(&|frame| frame.encode(None)), *code, *cause))
        .collect();
    cases.extend(odd_lengths(0).map(|(name, header)| (name, header, 1002, "protocol-error")));
    cases.push(("a mask", Frame::text("x").encode(Some([1, 2, 3, 4])), 1002, "protocol-error"));

    let count = cases.len();
    for (name, bytes, code, cause) in cases {
        println!("the upstream sends: {name}");
        let (mut client, mut server) = pair(stage.gate.address(), &stage.upstream).await;
        server.send(Frame::text("lawful")).await;
        server.send_bytes(&bytes).await;
        assert_eq!(client.text().await, "lawful");
        expect_close(&mut server, code, cause).await;
        expect_close(&mut client, 1014, "upstream-protocol-error").await;
    }
    assert_counted(&stage, "upstream", count).await;
    stage.exchange().await;
}

const LIMITED: &str = "max_message_size = 1000\nmax_fragments = 4";

#[tokio::test]
async fn client_message_over_the_limit_is_refused_by_its_header() {
    let Session { gate, mut client, mut server, .. } = Session::open_with(LIMITED).await;
    client.send(Frame::binary(vec![0; 1000])).await;
    assert_eq!(server.message().await.payload.len(), 1000);

    // Only the header: the payload need not come. And an upstream that does not answer keeps nobody long.
    client.send_bytes(&Frame::binary([]).encode_header(1001, Some([0; 4]))).await;
    let close = client.close().await;
    assert_ours(&close, 1009, "message-too-big");
    assert_eq!(close.parameter("limit"), Some("1000"));
    client.answer_close(&close).await;
    expect_close(&mut server, 1001, "client-message-too-big").await;
    assert_eq!(gate.record().await.cause(), "client-message-too-big");
}

#[tokio::test]
async fn upstream_message_over_the_limit_is_not_the_clients_fault() {
    let Session { gate, mut client, mut server, .. } = Session::open_with(LIMITED).await;
    server.send(Frame::binary(vec![0; 600]).unfinished()).await;
    server.send(Frame::new(opcode::CONTINUATION, vec![0; 401])).await;
    expect_close(&mut server, 1009, "message-too-big").await;
    expect_close(&mut client, 1014, "upstream-message-too-big").await;
    assert_eq!(gate.record().await.cause(), "upstream-message-too-big");
}

#[tokio::test]
async fn too_many_fragments_end_with_1008() {
    let Session { gate: _gate, mut client, mut server, .. } = Session::open_with(LIMITED).await;
    client.send(Frame::text("x").unfinished()).await;
    for _ in 0..4 {
        client.send(Frame::new(opcode::CONTINUATION, "x").unfinished()).await;
    }
    expect_close(&mut client, 1008, "too-many-fragments").await;
    expect_close(&mut server, 1001, "client-rate-limited").await;
}

#[tokio::test]
async fn utf8_is_not_judged_where_the_route_says_so() {
    let Session { gate: _gate, mut client, mut server, .. } = Session::open_with("validate_utf8 = false").await;
    let broken = Frame::new(opcode::TEXT, [0xc3, 0x28]);
    client.send(broken.clone()).await;
    assert_eq!(server.frame().await, broken);
}
