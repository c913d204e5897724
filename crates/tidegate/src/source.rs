//! Where a configuration comes from: a file that can be read again, or a text.

use std::{
    env, fs, io,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use tidegate_config::{Config, Errors, MAX_FILE_SIZE};

/// A configuration's origin.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Read again at every reload.
    File(PathBuf),
    /// From the command line: always the same.
    Text(String),
}

impl Source {
    /// The file that was named, or the first there is where one may lie.
    pub(crate) fn find(named: Option<&Path>) -> Option<Self> {
        if let Some(named) = named {
            return Some(Self::File(named.to_owned()));
        }
        let home = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
        let places = [
            Some(PathBuf::from("tidegate.toml")),
            home.map(|home| home.join("tidegate/tidegate.toml")),
            Some(PathBuf::from("/etc/tidegate/tidegate.toml")),
        ];
        places.into_iter().flatten().find(|path| path.is_file()).map(Self::File)
    }

    /// What it says; the files that it names are not looked at.
    ///
    /// # Errors
    /// All that is wrong with it, as text for a person.
    pub(crate) fn parse(&self) -> Result<Config, String> {
        self.read().and_then(|(name, text)| parse(&name, &text))
    }

    /// What it says, when the files that it names are good, too; and warnings as text for a person, or nothing.
    ///
    /// # Errors
    /// All that is wrong with it, as text for a person.
    pub(crate) fn load(&self) -> Result<(Config, Option<String>), String> {
        let (name, text) = self.read()?;
        let config = parse(&name, &text)?;
        match Errors::of_files(&name, &text, tidegate_proxy::check_files(&config)) {
            None => Ok((config, None)),
            Some(warnings) if warnings.are_warnings() => Ok((config, Some(warnings.render(colors())))),
            Some(errors) => Err(errors.render(colors())),
        }
    }

    /// Its name and its text.
    fn read(&self) -> Result<(String, String), String> {
        match self {
            Self::Text(text) => Ok(("command line".to_owned(), text.clone())),
            Self::File(path) => {
                let text = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Ok((path.display().to_string(), text))
            }
        }
    }
}

fn parse(name: &str, text: &str) -> Result<Config, String> {
    tidegate_config::parse(name, text).map_err(|errors| errors.render(colors()))
}

fn read(path: &Path) -> io::Result<String> {
    // Not one byte more than a configuration may have, whatever the path leads to.
    let mut text = String::new();
    let file = io::Read::take(fs::File::open(path)?, MAX_FILE_SIZE as u64 + 1);
    io::Read::read_to_string(&mut { file }, &mut text)?;
    Ok(text)
}

fn colors() -> bool {
    env::var_os("CLICOLOR_FORCE").is_some() || (io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
}
