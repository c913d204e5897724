//! `tidegate init`: a first configuration.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

/// Writes the commented example, and never over a file that is there.
pub(crate) fn init(file: &Path) -> ExitCode {
    let example = tidegate_config::example_toml().as_bytes();
    let to_stdout = file == Path::new("-");
    let written = if to_stdout { io::stdout().write_all(example) } else { write(file, example) };
    match written {
        Ok(()) if to_stdout => ExitCode::SUCCESS,
        Ok(()) => {
            println!("wrote {}; `tidegate check --config {0}` checks it", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(file)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_written_once_and_never_overwritten() {
        let file = std::env::temp_dir().join(format!("tidegate-init-{}.toml", std::process::id()));
        let _ = fs::remove_file(&file);
        write(&file, b"first").unwrap();
        assert_eq!(write(&file, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"first");
        fs::remove_file(&file).unwrap();
    }
}
