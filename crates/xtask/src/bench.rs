//! Benchmarks: instructions of the pure crates, which CI compares with those committed, and what the whole costs beside
//! other proxies, which needs a quiet machine.

use std::process::{Command, Stdio};

use crate::{Result, cargo, instructions};

/// Counts instructions, compares them with the committed ones (or, with `bless`, commits these), and holds the governor's
/// decision against its limit.
pub(crate) fn count(bless: bool) -> Result {
    let [valgrind] = bring(["valgrind"])?;
    build("the workloads", "bench-micro")?;
    cargo::announce("instructions");
    instructions::check(&valgrind, &release("micro")?, bless)?;
    cargo::announce("what was promised to be fast");
    cargo::finish(Command::new(release("micro")?).arg("--limits"))
}

/// As [`count`], and then times each workload.
pub(crate) fn micro(bless: bool) -> Result {
    count(bless)?;
    cargo::announce("times");
    let mut command = cargo::command(&["bench", "--package", "bench-micro", "--bench", "micro", "--locked"]);
    cargo::finish(command.env("CARGO_INCREMENTAL", "0"))
}

/// tidegate beside nginx and HAProxy: see `docs/performance.md`, whose tables this writes.
pub(crate) fn macro_(arguments: &[&str]) -> Result {
    let [strace] = bring(["strace"])?;
    compare("bench-macro", &["--strace", &strace], arguments)
}

/// A herd of clients before a server that dies, behind each of the proxies: see `docs/herd.md`, whose table this writes.
pub(crate) fn herd(arguments: &[&str]) -> Result {
    compare("bench-herd", &["compare"], arguments)
}

/// Runs a comparison of tidegate with nginx and HAProxy, with what all of them are told.
fn compare(package: &str, first: &[&str], arguments: &[&str]) -> Result {
    let [nginx, haproxy] = bring(["nginx", "haproxy"])?;
    build("tidegate", "tidegate")?;
    build("the comparison", package)?;
    cargo::announce("tidegate, nginx and HAProxy");
    let mut command = Command::new(release(package)?);
    command.args(first).arg("--tidegate").arg(release("tidegate")?).args(["--nginx", &nginx, "--haproxy", &haproxy]);
    command.arg("--scratch").arg(release(&format!("{package}.scratch"))?);
    cargo::finish(command.arg("--root").arg(cargo::root()).args(arguments))
}

/// Builds what is measured as users do: by itself, with the features that it asks for and no others, and all at once,
/// since what is compiled in parts is another program.
fn build(what: &str, package: &str) -> Result {
    cargo::announce(what);
    let mut command = cargo::command(&["build", "--release", "--package", package, "--bins", "--locked"]);
    cargo::finish(command.env("CARGO_INCREMENTAL", "0"))
}

/// A program of the release profile.
fn release(name: &str) -> Result<std::path::PathBuf> {
    let target = cargo::build_directory()?;
    Ok(target.parent().ok_or("no target directory")?.join("release").join(name))
}

/// Brings programs that the machine may lack; their paths.
fn bring<const COUNT: usize>(tools: [&str; COUNT]) -> Result<[String; COUNT]> {
    cargo::run("what brings tools", &["build", "--workspace", "--bin", "bring-tools", "--locked"])?;
    let mut command = Command::new(cargo::build_directory()?.join("bring-tools"));
    let output = command.args(tools).stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let paths: Vec<String> = text.lines().filter_map(|line| Some(line.split_once(": ")?.1.to_owned())).collect();
    if !output.status.success() {
        return Err(format!("{tools:?} cannot be brought"));
    }
    paths.try_into().map_err(|_| format!("{tools:?} were brought to {text}"))
}
