//! OpenSSL's own client.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::clock::within;
use crate::tools::Tool;

/// An upgrade, and behind it an empty Close: a session that ends as soon as it has begun.
const SESSION: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x88\x80\0\0\0\0";

/// `openssl s_client`; `None` when it cannot be had, which has then been said.
#[derive(Clone, Debug)]
pub struct Openssl(std::path::PathBuf);

impl Openssl {
    /// See [`Tool::need`].
    pub fn new() -> Option<Self> {
        Tool::Openssl.need().map(Self)
    }

    /// Opens a WebSocket, closes it, and gives all that was said of it, without spaces.
    ///
    /// # Panics
    /// When it cannot be run, or does not end.
    pub async fn session(&self, server: SocketAddr, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.0);
        command.args(["s_client", "-ign_eof", "-connect", &server.to_string()]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("openssl runs");
        let mut input = child.stdin.take().expect("piped above");
        // It may have been refused and be gone.
        let _ = input.write_all(SESSION).await;
        let output = within("openssl's end", child.wait_with_output()).await.expect("openssl ends");
        drop(input);
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).replace(' ', "")
    }
}
