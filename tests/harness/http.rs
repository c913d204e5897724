//! Just enough HTTP/1.1 to ask for a page and to read an answer to the end.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock::within;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields as they came, in order.
    pub headers: Vec<(String, String)>,
    /// The content, transfer coding removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The only value of a header field; names compare without case.
    ///
    /// # Panics
    /// When the field stands twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The one value that `name` has among `headers`.
///
/// # Panics
/// When it has two.
pub fn only<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    let value = values.next();
    assert!(values.next().is_none(), "{name} stands twice in {headers:?}");
    value
}

/// Asks for `path`; an error when nobody listens.
///
/// # Errors
/// When the connection cannot be made or ends early.
pub async fn try_get(address: SocketAddr, path: &str) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (response, _) = read_response(&mut stream).await?;
    Ok(response)
}

/// Asks for `path`.
///
/// # Panics
/// When there is no answer.
pub async fn get(address: SocketAddr, path: &str) -> Response {
    within(path, try_get(address, path)).await.unwrap_or_else(|error| panic!("GET {path} at {address}: {error}"))
}

/// Writes `request` as it is and reads one answer.
///
/// # Panics
/// When there is no answer.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Response {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        // A server may answer and stop reading before a bad request has ended.
        let _ = stream.write_all(request).await;
        read_response(&mut stream).await
    };
    let (response, _) = within("an HTTP answer", exchange).await.expect("an HTTP answer");
    response
}

/// Reads one answer; gives also what came after it.
///
/// # Errors
/// When the stream ends or breaks before the answer is complete, or it is no HTTP.
pub async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(Response, Vec<u8>)> {
    let mut buffer = Vec::new();
    let (start_line, headers) = read_head(stream, &mut buffer).await?;
    let status = start_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or_else(|| malformed(&start_line))?;

    let chunked = only(&headers, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let length = only(&headers, "content-length").map(|length| length.parse().map_err(|_| malformed(length)));
    let body = if status < 200 || status == 204 || status == 304 {
        Vec::new()
    } else if chunked {
        read_chunks(stream, &mut buffer).await?
    } else if let Some(length) = length {
        take(stream, &mut buffer, length?).await?
    } else {
        stream.read_to_end(&mut buffer).await?;
        std::mem::take(&mut buffer)
    };
    Ok((Response { status, headers, body }, buffer))
}

/// A start line and its header fields.
pub type Head = (String, Vec<(String, String)>);

/// Reads up to the empty line that ends a head, leaving what follows in `buffer`.
///
/// # Errors
/// When the stream ends or breaks first, or a line is no header field.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<Head> {
    let start_line = read_line(stream, buffer).await?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream, buffer).await?;
        if line.is_empty() {
            return Ok((start_line, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<String> {
    let end = loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            break end;
        }
        fill(stream, buffer).await?;
    };
    let line = String::from_utf8(buffer[..end].to_vec()).map_err(|_| malformed("a line that is not text"))?;
    buffer.drain(..end + 2);
    Ok(line)
}

async fn read_chunks(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream, buffer).await?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(|_| malformed(&line))?;
        body.extend(take(stream, buffer, length).await?);
        read_line(stream, buffer).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}

async fn take(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, length: usize) -> std::io::Result<Vec<u8>> {
    while buffer.len() < length {
        fill(stream, buffer).await?;
    }
    Ok(buffer.drain(..length).collect())
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("not HTTP: {what:?}"))
}
