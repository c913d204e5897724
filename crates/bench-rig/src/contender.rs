//! The proxies that are compared.

use std::{path::Path, process::Command};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// From the distribution's package.
    Nginx,
    /// From the distribution's package.
    Haproxy,
    /// A release build.
    Tidegate,
}

impl Contender {
    /// As the tables have them.
    pub const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Tidegate];

    /// As its makers write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Tidegate => "tidegate",
        }
    }

    /// Runs `program` in the foreground, with its files in `directory`.
    pub(crate) fn command(self, program: &Path, directory: &Path, config: &Path) -> Command {
        let mut command = Command::new(program);
        match self {
            Self::Nginx => command.arg("-p").arg(directory).arg("-c").arg(config).args(["-e", "error.log"]),
            Self::Haproxy => command.args(["-db", "-f"]).arg(config),
            Self::Tidegate => command.args(["run", "--config"]).arg(config),
        };
        command
    }

    /// What `program` says of its version.
    pub(crate) fn version(self, program: &Path) -> String {
        let flag = if self == Self::Tidegate { "--version" } else { "-v" };
        let output = Command::new(program).arg(flag).output();
        // nginx says it on standard error.
        let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        number(&String::from_utf8_lossy(&text)).to_owned()
    }
}

/// The first word that begins with a digit.
fn number(text: &str) -> &str {
    let mut words = text.split(|c: char| c.is_whitespace() || c == '/');
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_version_is_found_in_what_each_says() {
        assert_eq!(number("nginx version: nginx/1.26.3\n"), "1.26.3");
        assert_eq!(number("HAProxy version 3.0.11-1+deb13u2 2026/03/01 - https://haproxy.org/\n"), "3.0.11-1+deb13u2");
        assert_eq!(number("tidegate 0.1.0\n"), "0.1.0");
        assert_eq!(number("not found"), "?");
    }
}
