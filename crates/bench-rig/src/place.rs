//! Where a proxy runs.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

/// A directory of its own, empty at first, and an address to listen on.
#[derive(Debug)]
pub struct Place {
    /// For all its files.
    pub directory: PathBuf,
    /// On loopback.
    pub address: SocketAddr,
}

impl Place {
    pub(crate) fn new(directory: &Path) -> Result<Self, String> {
        let prepare = || {
            // What an earlier one left.
            let _ = fs::remove_dir_all(directory);
            fs::create_dir_all(directory)?;
            free_address()
        };
        let address = prepare().map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Self { directory: directory.into(), address })
    }

    /// Puts a file there; its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

/// A free address of loopback. Another process might take it before its server does.
///
/// # Errors
/// There is none.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}
