//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// A reverse proxy that makes every WebSocket connection end with the truth.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve, as a configuration file says. SIGHUP reloads it, SIGTERM drains, a second SIGTERM ends at once
    Run(From),
    /// Have the running process read its configuration again, and say what came of it
    Reload(From),
    /// Have the running process end its sessions, and then itself
    Drain(From),
    /// Have the running process start its program anew, give it the listening sockets, and drain
    Upgrade(From),
    /// Check a configuration file, and show every mistake in it
    #[command(alias = "validate")]
    Check(From),
    /// Serve one upstream without a configuration file
    Proxy(Proxy),
    /// See in a browser how sessions end, with tidegate and without
    Demo(Demo),
    /// Write an example configuration, with every key and what it is for
    Init(Init),
}

/// Where the configuration comes from.
#[derive(Args)]
pub(crate) struct From {
    /// Configuration file [default: ./tidegate.toml, then $XDG_CONFIG_HOME/tidegate/, then /etc/tidegate/]
    #[arg(short, long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// One upstream, all defaults.
#[derive(Args)]
#[command(after_help = "Example:\n  tidegate proxy ws://127.0.0.1:3000 --listen 127.0.0.1:8080")]
pub(crate) struct Proxy {
    /// Where the WebSocket server is: ws://HOST:PORT, wss://HOST:PORT or HOST:PORT
    pub(crate) upstream: String,
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:8080", env = "TIDEGATE_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Where metrics are served
    #[arg(long, default_value = "127.0.0.1:9180", env = "TIDEGATE_ADMIN")]
    pub(crate) admin: SocketAddr,
}

/// A backend, a tunnel, tidegate and a page, all of them here.
#[derive(Args)]
pub(crate) struct Demo {
    /// Where the page is served; port 0: the kernel chooses
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,
}

/// A first configuration.
#[derive(Args)]
pub(crate) struct Init {
    /// The file to write, which must not exist; `-`: standard output
    #[arg(default_value = "tidegate.toml")]
    pub(crate) file: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Option<Command>, ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_commands_contradict_nothing() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_one_screen() {
        for mut command in std::iter::once(Cli::command()).chain(Cli::command().get_subcommands().cloned()) {
            let help = command.render_help().to_string();
            assert!(help.lines().count() <= 24, "{help}");
        }
    }

    #[test]
    fn every_verb_is_understood() {
        let check = |line, expected: fn(&Command) -> bool| {
            let command = parse(line).unwrap_or_else(|kind| panic!("{line}: {kind:?}"));
            assert!(command.is_some_and(|command| expected(&command)), "{line}");
        };
        check(
            "tidegate run --config a.toml",
            |c| matches!(c, Command::Run(from) if from.config.as_deref() == Some("a.toml".as_ref())),
        );
        check("tidegate check -c a.toml", |c| matches!(c, Command::Check(from) if from.config.is_some()));
        check("tidegate validate -c a.toml", |c| matches!(c, Command::Check(_)));
        check(
            "tidegate proxy ws://127.0.0.1:3000 --listen [::1]:80",
            |c| matches!(c, Command::Proxy(what) if what.upstream == "ws://127.0.0.1:3000" && what.listen.is_ipv6()),
        );
        check("tidegate reload -c a.toml", |c| matches!(c, Command::Reload(_)));
        check("tidegate drain", |c| matches!(c, Command::Drain(_)));
        check("tidegate upgrade", |c| matches!(c, Command::Upgrade(_)));
        check("tidegate demo", |c| matches!(c, Command::Demo(what) if what.listen.port() == 8080));
        check("tidegate demo --listen 127.0.0.1:0", |c| matches!(c, Command::Demo(what) if what.listen.port() == 0));
        check("tidegate init", |c| matches!(c, Command::Init(what) if what.file.as_os_str() == "tidegate.toml"));
        check("tidegate init -", |c| matches!(c, Command::Init(what) if what.file.as_os_str() == "-"));
    }

    #[test]
    fn no_verb_is_no_mistake_but_a_wrong_one_is() {
        assert!(matches!(parse("tidegate"), Ok(None)));
        for (line, kind) in [
            ("tidegate serve", ErrorKind::InvalidSubcommand),
            ("tidegate proxy", ErrorKind::MissingRequiredArgument),
            ("tidegate demo --listen 8080", ErrorKind::ValueValidation),
            ("tidegate run --port 80", ErrorKind::UnknownArgument),
        ] {
            assert_eq!(parse(line).err(), Some(kind), "{line}");
        }
    }
}
