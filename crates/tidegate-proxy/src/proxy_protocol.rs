//! The PROXY protocol: who the client of a connection is, said before its first byte.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. Parsing and writing are the `proxy-header` crate's;
//! here is how much is read, and from whom.

use std::{io, net::SocketAddr, time::Duration};

use proxy_header::{Error, ParseConfig, Protocol, ProxiedAddress, ProxyHeader};
use rustix::net::RecvFlags;
use tidegate_config::{ProxyProtocol, Trust};
use tokio::{
    io::{AsyncReadExt, Interest},
    time::timeout,
};

use crate::stream::Stream;

/// Longest header, with all that it carries besides addresses, in bytes. Those seen in clouds have less than 200.
const MAX_HEADER: usize = 2 << 10;
/// How long a proxy may take to send it. As long as a client may take for its TLS handshake.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How a header of version 2 begins.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// How one of version 1 begins, and the longest there is (section 2.1).
const V1_START: &[u8] = b"PROXY ";
const V1_LONGEST: usize = 107;

/// The two ends of a connection, as a trusted proxy says. `None`: the proxy speaks for itself, or does not know.
pub(crate) type Said = Option<(SocketAddr, SocketAddr)>;

/// Why a connection ends before its first request. The metric label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not from a trusted proxy.
    Untrusted,
    /// No header, or one that cannot be read.
    Malformed,
    /// It did not come in time.
    Timeout,
    /// The peer left first.
    Gone,
}

impl Refusal {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::Gone => "gone",
        }
    }
}

/// Takes the header off the front of a connection, and not a byte more.
///
/// # Errors
/// It must not be believed, or is none.
pub(crate) async fn accept(
    stream: &mut Stream,
    peer: Option<SocketAddr>,
    versions: ProxyProtocol,
    trust: &Trust,
) -> Result<Said, Refusal> {
    if !trust.trusts(peer.map(|peer| peer.ip())) {
        return Err(Refusal::Untrusted);
    }
    timeout(TIMEOUT, read(stream, versions)).await.map_err(|_| Refusal::Timeout)?
}

async fn read(stream: &mut Stream, versions: ProxyProtocol) -> Result<Said, Refusal> {
    // Not in the future itself, which is as large as a whole connection's.
    let mut buffer = vec![0; MAX_HEADER];
    let mut len = 0;
    loop {
        let more = peek(stream, &mut buffer[len..]).await.map_err(|_| Refusal::Gone)?;
        let seen = len + more;
        let (end, found) = match parse(&buffer[..seen], versions)? {
            Some((said, end)) => (end, Some(said)),
            // All of it is the header's, and more is to come.
            None if seen < MAX_HEADER => (seen, None),
            None => return Err(Refusal::Malformed),
        };
        stream.read_exact(&mut buffer[len..end]).await.map_err(|_| Refusal::Gone)?;
        match found {
            Some(said) => return Ok(said),
            None => len = end,
        }
    }
}

/// The header at the front of these bytes and its length; `None`: it goes on behind them.
///
/// # Errors
/// There is none of these versions.
pub(crate) fn parse(data: &[u8], versions: ProxyProtocol) -> Result<Option<(Said, usize)>, Refusal> {
    let starts = |with: &[u8]| data.iter().zip(with).all(|(a, b)| a == b);
    let allowed = match versions {
        ProxyProtocol::Any => starts(V1_START) || starts(V2_SIGNATURE),
        ProxyProtocol::V1 => starts(V1_START),
        ProxyProtocol::V2 => starts(V2_SIGNATURE),
    };
    if !allowed {
        return Err(Refusal::Malformed);
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let longest = if data.starts_with(V2_SIGNATURE) { MAX_HEADER } else { V1_LONGEST };
    match ProxyHeader::parse(data, config) {
        Ok((header, len)) if len <= longest => match header.proxied_address() {
            Some(ends) if ends.protocol != Protocol::Stream => Err(Refusal::Malformed),
            ends => Ok(Some((ends.map(|ends| (ends.source, ends.destination)), len))),
        },
        Err(Error::BufferTooShort) => Ok(None),
        _ => Err(Refusal::Malformed),
    }
}

/// Reads without taking. An end of the stream is an error.
async fn peek(stream: &Stream, space: &mut [u8]) -> io::Result<usize> {
    macro_rules! peek {
        ($socket:expr) => {
            $socket
                .async_io(Interest::READABLE, || {
                    rustix::net::recv($socket, &mut *space, RecvFlags::PEEK).map(|(len, _)| len).map_err(Into::into)
                })
                .await
        };
    }
    let len = match stream {
        Stream::Tcp(socket) => peek!(socket),
        Stream::Unix(socket) => peek!(socket),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }?;
    if len == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(len) }
}

/// A header of version 2: this client, to the address that it came to. `None`, or addresses of two families: LOCAL,
/// which has none.
pub(crate) fn header(ends: Said) -> Vec<u8> {
    let header = match ends.map(|(from, to)| (canonical(from), canonical(to))) {
        Some((from, to)) if from.is_ipv4() == to.is_ipv4() => {
            ProxyHeader::with_address(ProxiedAddress::stream(from, to))
        }
        _ => ProxyHeader::with_local(),
    };
    let mut out = Vec::with_capacity(64);
    // Only extra fields could make it too long, and there are none.
    let _ = header.encode_v2(&mut out);
    out
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n";

    fn ends(from: &str, to: &str) -> Said {
        Some((from.parse().unwrap(), to.parse().unwrap()))
    }

    #[test]
    fn both_versions_say_who_it_is() {
        let v4 = ends("192.0.2.1:4711", "198.51.100.2:443");
        assert_eq!(parse(V1, ProxyProtocol::Any), Ok(Some((v4, V1.len()))));
        assert_eq!(parse(V1, ProxyProtocol::V2), Err(Refusal::Malformed));
        let v2 = header(v4);
        assert_eq!(parse(&v2, ProxyProtocol::V2), Ok(Some((v4, 28))));
        assert_eq!(parse(&v2, ProxyProtocol::V1), Err(Refusal::Malformed));
        let v6 = ends("[2001:db8::1]:1", "[2001:db8::2]:2");
        assert_eq!(parse(&header(v6), ProxyProtocol::Any), Ok(Some((v6, 52))));
    }

    #[test]
    fn who_cannot_be_said_is_local() {
        for said in [None, ends("192.0.2.1:1", "[2001:db8::2]:2")] {
            assert_eq!(parse(&header(said), ProxyProtocol::V2), Ok(Some((None, 16))));
        }
        assert_eq!(parse(b"PROXY UNKNOWN\r\n", ProxyProtocol::V1), Ok(Some((None, 15))));
        // A mapped address is the one that it maps.
        let mapped = header(ends("[::ffff:192.0.2.1]:1", "198.51.100.2:2"));
        assert_eq!(parse(&mapped, ProxyProtocol::V2), Ok(Some((ends("192.0.2.1:1", "198.51.100.2:2"), 28))));
    }

    #[test]
    fn what_else_it_says_is_skipped_within_its_bound() {
        let with_more = |len: u16| {
            let mut bytes = header(ends("192.0.2.1:1", "198.51.100.2:2"));
            bytes[14..16].copy_from_slice(&(12 + len).to_be_bytes());
            bytes.resize(bytes.len() + usize::from(len), 4);
            parse(&bytes, ProxyProtocol::V2)
        };
        assert!(matches!(with_more(1000), Ok(Some((Some(_), 1028)))));
        assert_eq!(with_more(4096), Err(Refusal::Malformed));
    }

    #[test]
    fn what_is_no_header_is_seen_at_its_first_byte_that_is_wrong() {
        for bad in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PROXX", b"\r\n\r\nx"] {
            assert_eq!(parse(bad, ProxyProtocol::Any), Err(Refusal::Malformed), "{}", bad.escape_ascii());
        }
        for bad in [
            &b"PROXY TCP4 1.2.3.4 5.6.7 1 2\r\n"[..],
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            &[b"PROXY UNKNOWN", &[b'x'; 100][..], b"\r\n"].concat(),
        ] {
            assert_eq!(parse(bad, ProxyProtocol::Any), Err(Refusal::Malformed), "{}", bad.escape_ascii());
        }
        let mut datagram = header(ends("192.0.2.1:1", "198.51.100.2:2"));
        datagram[13] = 0x12;
        assert_eq!(parse(&datagram, ProxyProtocol::Any), Err(Refusal::Malformed));
        datagram[12] = 0x31;
        assert_eq!(parse(&datagram, ProxyProtocol::Any), Err(Refusal::Malformed), "another version");
    }

    proptest! {
        /// However it arrives, a header is found at its end and not before; what follows it is not looked at.
        #[test]
        fn any_part_of_a_header_waits_for_the_rest(from: [u8; 4], to: [u8; 4], ports: (u16, u16), rest: Vec<u8>) {
            let (source, destination) = (SocketAddr::from((from, ports.0)), SocketAddr::from((to, ports.1)));
            let said = Some((source, destination));
            let v1 = format!("PROXY TCP4 {} {} {} {}\r\n", source.ip(), destination.ip(), ports.0, ports.1);
            for header in [header(said), v1.into_bytes()] {
                for cut in 0..header.len() {
                    prop_assert_eq!(parse(&header[..cut], ProxyProtocol::Any), Ok(None));
                }
                let all = [&header[..], &rest].concat();
                prop_assert_eq!(parse(&all, ProxyProtocol::Any), Ok(Some((said, header.len()))));
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_read_too_far(start in prop::sample::select(vec![&b""[..], V1_START, V2_SIGNATURE]), rest: Vec<u8>) {
            let data = [start, &rest].concat();
            if let Ok(Some((_, len))) = parse(&data, ProxyProtocol::Any) {
                prop_assert!(len <= data.len() && len <= MAX_HEADER);
            }
        }
    }
}
