//! A name server that says what the test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const SERVER_FAILURE: u8 = 2;

/// Answers every question for an A record with the same addresses, and a TTL of 1 s.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    addresses: Arc<Mutex<Option<Vec<Ipv4Addr>>>>,
    answering: JoinHandle<()>,
}

impl NameServer {
    /// Starts on a free port of loopback.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        let addresses = Arc::new(Mutex::new(Some(addresses.to_vec())));
        let known = Arc::clone(&addresses);
        let answering = tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut query).await {
                let addresses = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(answer) = answer(&query[..length], addresses.as_deref()) {
                    // An asker that is gone has no need of it.
                    let _ = socket.send_to(&answer, asker).await;
                }
            }
        });
        Self { address, addresses, answering }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says from now on; `None`: that it fails.
    pub fn say(&self, addresses: Option<&[Ipv4Addr]>) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses.map(<[_]>::to_vec);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// RFC 1035 section 4.1. `None`: that was no question.
fn answer(query: &[u8], addresses: Option<&[Ipv4Addr]>) -> Option<Vec<u8>> {
    let name_end = HEADER + query.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER..name_end + 4)?;
    let asks_for_a = question.get(question.len() - 4..question.len() - 2)? == TYPE_A;
    let records = addresses.filter(|_| asks_for_a).unwrap_or_default();
    let code = if addresses.is_some() { 0 } else { SERVER_FAILURE };
    let mut answer = query[..2].to_vec();
    // A response, recursion desired and available; one question, the records, nothing else.
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(records.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question);
    for address in records {
        // The name at offset 12, A, IN, TTL 1, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
