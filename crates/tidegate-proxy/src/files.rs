//! Files that the configuration names: read within bounds, and looked at before it is in force.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileTypeExt as _,
    path::Path,
};

use tidegate_config::{AccessLog, Address, Config, Fault, FilePath, Place, ServerAddress};

use crate::{auth, finder::Finder, tls};

/// Longest file that is read, in bytes: the roots of a whole system are a quarter of it.
const MAX_SIZE: u64 = 1 << 20;

/// Everything that is wrong with the files of a configuration, as far as opening them shows it, and with the places of
/// its sockets and of its log. What may be there by the time it is needed is only a warning.
#[must_use]
pub fn check(config: &Config) -> Vec<Fault> {
    let mut faults = tls::check(config);
    faults.extend(auth::check_keys(config));
    faults.extend(config.upstreams.values().filter_map(|upstream| Finder::new(upstream).err()));
    let listeners = config.listeners.iter().map(|listener| (&listener.address, &listener.place));
    let admin = config.admin.address.iter().map(|address| (address, &config.admin.place));
    for (address, place) in listeners.chain(admin) {
        if let Address::Unix(path) = address {
            faults.extend(socket(path, |what| place.fault(what)));
        }
    }
    if let Some(path) = &config.admin.socket {
        faults.extend(socket(path.as_ref(), |what| path.place().fault(what)));
    }
    for server in config.upstreams.values().flat_map(|upstream| &upstream.servers) {
        if let ServerAddress::Unix(path) = &server.address {
            faults.extend(socket(path, |what| server.place.fault(what)));
        }
    }
    if let AccessLog::File(path) = &config.log.access {
        faults.extend(log(path, &config.log.place));
    }
    faults
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or is too long to be what it should be.
pub(crate) fn read(file: &FilePath) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    let opened = File::open(file).map_err(|error| file.fault(error))?;
    io::Read::read_to_end(&mut io::Read::take(opened, MAX_SIZE + 1), &mut text).map_err(|error| file.fault(error))?;
    if text.len() as u64 > MAX_SIZE {
        return Err(file.fault(format_args!("more than {MAX_SIZE} bytes")));
    }
    Ok(text)
}

/// Where a socket is, or is to be.
fn socket(path: &Path, fault: impl Fn(String) -> Fault) -> Option<Fault> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(there) if there.file_type().is_socket() => None,
        Ok(_) => Some(fault(format!("{shown}: there is another file, which is no socket"))),
        Err(_) => no_directory(path).map(|missing| fault(format!("{shown}: {missing}")).warning()),
    }
}

/// Where lines are to be written.
fn log(path: &Path, place: &Place) -> Option<Fault> {
    let fault = |what: String| place.fault(format!("{}: {what}", path.display()));
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Some(fault("it is a directory".to_owned())),
        // Perhaps tidegate runs as another user than whoever checks.
        Ok(_) => OpenOptions::new().append(true).open(path).err().map(|error| fault(error.to_string()).warning()),
        Err(_) => no_directory(path).map(|missing| fault(missing.to_owned()).warning()),
    }
}

fn no_directory(path: &Path) -> Option<&'static str> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (!directory.is_dir()).then_some("its directory is not there yet")
}
