//! The project's own commands. `cargo xtask check` is all that CI runs; the others are its parts.

mod bench;
mod cargo;
mod docs;
mod instructions;
mod layers;
mod locks;
mod test;

use std::process::ExitCode;

/// A step that failed, in words for whoever has to mend it.
type Result<T = ()> = std::result::Result<T, String>;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check           format, lints, documentation, layers, lock file, generated docs, tests: what CI runs
  test            brings what the tests need, then runs them all
  layers          the pure crates depend on what they may, and on nothing else
  locks           the lock files fit, and no dependency in them is older than the fix of a known flaw
  sim [OPTIONS]   a fleet of clients before the governor, on a virtual clock; sim --help says more
  docs [--check]  writes the generated pages of docs/, or says which are out of date
  bench micro [--bless]
                  instructions of the pure crates against the committed counts (or commits these), then times
  bench macro [--quick] [--rounds N] [--only LOAD]
                  tidegate beside nginx and HAProxy; writes the tables of docs/performance.md and README.md
  bench herd [--clients N] [--only PROXY] [--scenario NAME]
                  thousands of real clients before a server that dies; writes the table of docs/herd.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["check"] => check(),
        ["test"] => test::run(),
        ["layers"] => layers::check(),
        ["locks"] => locks::check(),
        ["sim", ref options @ ..] => sim(options),
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["bench", "micro"] => bench::micro(false),
        ["bench", "micro", "--bless"] => bench::micro(true),
        ["bench", "macro", ref arguments @ ..] => bench::macro_(arguments),
        ["bench", "herd", ref arguments @ ..] => bench::herd(arguments),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Quick steps first.
fn check() -> Result {
    cargo::run("format", &["fmt", "--all", "--check"])?;
    step("layers", layers::check)?;
    step("lock file", locks::check)?;
    step("generated docs", docs::check)?;
    cargo::run("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    cargo::document()?;
    bench::count(false)?;
    test::run()
}

/// Built to be fast, and apart from this command, which everyone builds.
fn sim(options: &[&str]) -> Result {
    let mut arguments = vec!["run", "--quiet", "--release", "--package", "tidegate-sim", "--locked", "--"];
    arguments.extend(options);
    cargo::run("simulator", &arguments)
}

fn step(name: &str, work: fn() -> Result) -> Result {
    cargo::announce(name);
    work()
}
