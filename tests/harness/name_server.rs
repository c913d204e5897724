//! A name server that says what the test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const TYPE_SRV: [u8; 2] = [0, 33];
const SERVER_FAILURE: u8 = 2;
/// Seconds.
const TTL: [u8; 4] = [0, 0, 0, 1];

/// Answers every question for A records with the same addresses, and one for SRV records with the same services, which
/// lead to targets named by their addresses (`127-0-0-1.internal`). The TTL is 1 s.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    answering: JoinHandle<()>,
}

/// One SRV record (RFC 2782).
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Lower ones first.
    pub priority: u16,
    /// Share among equals.
    pub weight: u16,
    /// Where it is.
    pub at: SocketAddr,
}

#[derive(Debug, Default)]
struct Zone {
    /// `None`: it fails.
    addresses: Option<Vec<Ipv4Addr>>,
    services: Vec<Service>,
}

impl NameServer {
    /// Starts on a free port of loopback.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        let zone = Zone { addresses: Some(addresses.to_vec()), services: Vec::new() };
        let zone = Arc::new(Mutex::new(zone));
        let known = Arc::clone(&zone);
        let answering = tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut query).await {
                let answer = answer(&query[..length], &known.lock().unwrap_or_else(PoisonError::into_inner));
                if let Some(answer) = answer {
                    // An asker that is gone has no need of it.
                    let _ = socket.send_to(&answer, asker).await;
                }
            }
        });
        Self { address, zone, answering }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says of hosts from now on; `None`: that it fails.
    pub fn say(&self, addresses: Option<&[Ipv4Addr]>) {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner).addresses = addresses.map(<[_]>::to_vec);
    }

    /// What it says of services from now on.
    pub fn say_services(&self, services: &[Service]) {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner).services = services.to_vec();
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// RFC 1035 section 4.1. `None`: that was no question.
fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let name_end = HEADER + query.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER..name_end + 4)?;
    let kind: [u8; 2] = question.get(question.len() - 4..question.len() - 2)?.try_into().ok()?;
    let data: Vec<Vec<u8>> = match (kind, &zone.addresses) {
        (TYPE_A, Some(addresses)) => match named_after(question) {
            Some(target) => vec![target.octets().to_vec()],
            None => addresses.iter().map(|address| address.octets().to_vec()).collect(),
        },
        (TYPE_SRV, Some(_)) => zone.services.iter().map(Service::encode).collect(),
        _ => Vec::new(),
    };
    let code = if zone.addresses.is_some() { 0 } else { SERVER_FAILURE };
    let mut answer = query[..2].to_vec();
    // A response, recursion desired and available; one question, the records, nothing else.
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(data.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question);
    for data in data {
        // The name at offset 12, its type, IN.
        answer.extend([0xc0, 12, kind[0], kind[1], 0, 1]);
        answer.extend(TTL);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

/// The address that a target is named by.
fn named_after(question: &[u8]) -> Option<Ipv4Addr> {
    let length = usize::from(*question.first()?);
    std::str::from_utf8(question.get(1..=length)?).ok()?.replace('-', ".").parse().ok()
}

impl Service {
    fn encode(&self) -> Vec<u8> {
        let mut data = [self.priority, self.weight, self.at.port()].map(u16::to_be_bytes).concat();
        let host = self.at.ip().to_string().replace('.', "-");
        for label in [host.as_str(), "internal"] {
            data.push(u8::try_from(label.len()).expect("a label"));
            data.extend(label.as_bytes());
        }
        data.push(0);
        data
    }
}
