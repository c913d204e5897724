//! Running cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/xtask lies two below the root")
}

/// Where cargo puts what it builds with the dev profile: beside this executable.
pub(crate) fn build_directory() -> Result<PathBuf> {
    let executable = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    executable.parent().map(Path::to_owned).ok_or_else(|| format!("{} has no parent", executable.display()))
}

/// Says what comes next.
pub(crate) fn announce(step: &str) {
    println!("\n=== {step}");
}

/// A cargo command in the workspace.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(root());
    command
}

/// Runs one step that is a cargo command.
pub(crate) fn run(step: &str, arguments: &[&str]) -> Result {
    announce(step);
    finish(&mut command(arguments))
}

/// Builds the documentation of everything, private items too; a broken link is an error.
pub(crate) fn document() -> Result {
    announce("documentation");
    let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
    finish(command(&arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Result {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}")) }
}

/// What a cargo command prints.
pub(crate) fn output(arguments: &[&str]) -> Result<String> {
    let output = command(arguments).output().map_err(|error| format!("cargo {arguments:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("cargo {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr)))
}
