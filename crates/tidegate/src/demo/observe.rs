//! What tidegate says of itself: the last lines of its access log, and a few of its metrics.

use std::{
    io::{self, SeekFrom},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Lines of the access log that are shown.
const LINES: usize = 6;
/// Where they are looked for, in bytes from the end.
const TAIL: u64 = 16 << 10;
/// The most that is read of an answer.
const MAX_ANSWER: u64 = 1 << 20;
/// For a scrape.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);
/// The metrics that are shown.
const SHOWN: [&str; 5] = [
    "tidegate_sessions{",
    "tidegate_handshakes_total{",
    "tidegate_session_closes_total{",
    "tidegate_governor_shed_total{",
    "tidegate_upstream_endpoints{",
];

/// The last lines, the newest first.
pub(crate) fn last_lines(log: &Path) -> io::Result<Vec<Value>> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    io::Seek::seek(&mut file, SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    io::Read::read_to_end(&mut file, &mut tail)?;
    // A line that the start of the tail cuts, or that is being written, does not parse.
    let lines = tail.split(|byte| *byte == b'\n').rev();
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).take(LINES).collect())
}

/// The samples that say what the buttons did, as Prometheus reads them; those at zero left out.
pub(crate) async fn samples(admin: SocketAddr) -> io::Result<Vec<String>> {
    let answer = timeout(SCRAPE_TIMEOUT, get(admin)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let shown = |line: &&str| SHOWN.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
    Ok(answer.lines().filter(shown).map(str::to_owned).collect())
}

/// One request on a connection of its own needs no HTTP client.
async fn get(admin: SocketAddr) -> io::Result<String> {
    let mut connection = TcpStream::connect(admin).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    Ok(answer)
}
