//! What a comparison is run with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Contender, Place, Process, processors};

/// The options that all comparisons have; `cargo xtask bench` fills them in.
#[derive(clap::Args, Clone, Debug)]
pub struct Rig {
    /// A release build of tidegate.
    #[arg(long)]
    tidegate: PathBuf,
    #[arg(long)]
    nginx: PathBuf,
    #[arg(long)]
    haproxy: PathBuf,
    /// Where the proxies keep their files.
    #[arg(long)]
    scratch: PathBuf,
    /// The workspace, whose pages get the tables. Without it nothing is written.
    #[arg(long)]
    root: Option<PathBuf>,
}

impl Rig {
    fn program(&self, contender: Contender) -> &Path {
        match contender {
            Contender::Nginx => &self.nginx,
            Contender::Haproxy => &self.haproxy,
            Contender::Tidegate => &self.tidegate,
        }
    }

    /// Where a proxy may run: no other that runs at the same time may have this name.
    ///
    /// # Errors
    /// The directory cannot be made, or no port is free.
    pub fn place(&self, name: &str) -> Result<Place, String> {
        Place::new(&self.scratch.join(name))
    }

    /// Starts a proxy, on its processor, and waits until it takes connections.
    ///
    /// # Errors
    /// It does not; with what it said.
    pub fn start(&self, contender: Contender, place: &Place, config: &str) -> Result<Process, String> {
        let config = place.write("config", config)?;
        let command = contender.command(self.program(contender), &place.directory, &config);
        processors::on_the_proxies(|| Process::start(command, place))
    }

    /// `nginx 1.26.3, HAProxy 3.0.11, tidegate 0.1.0`
    pub fn versions(&self) -> String {
        let version =
            |contender: Contender| format!("{} {}", contender.name(), contender.version(self.program(contender)));
        Contender::ALL.map(version).join(", ")
    }

    /// Puts a text between `<!-- bench:MARK -->` and `<!-- /bench:MARK -->` of a page of the workspace, if there is one.
    ///
    /// # Errors
    /// The page has no such marks, or cannot be read or written.
    pub fn publish(&self, page: &str, mark: &str, text: &str) -> Result<(), String> {
        let Some(root) = &self.root else { return Ok(()) };
        let fail = |error: std::io::Error| format!("{page}: {error}");
        let old = fs::read_to_string(root.join(page)).map_err(fail)?;
        let new =
            between(&old, mark, text).ok_or_else(|| format!("{page}: no marks of {mark} to put the table between"))?;
        fs::write(root.join(page), new).map_err(fail)
    }
}

fn between(page: &str, mark: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- bench:{mark} -->\n"), format!("<!-- /bench:{mark} -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{text}\n\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn a_text_takes_the_place_of_the_one_before() {
        let page = "above\n<!-- bench:costs -->\n\nold\n\n<!-- /bench:costs -->\nbelow\n";
        let new = "above\n<!-- bench:costs -->\n\nnew\n\n<!-- /bench:costs -->\nbelow\n";
        assert_eq!(between(page, "costs", "new").as_deref(), Some(new));
        assert_eq!(between(page, "calls", "new"), None);
    }
}
