//! All tests, from a fresh clone to the counts.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use crate::{Result, cargo};

/// What a run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Builds the binary as users do, brings the peers it is tested against, and runs every test.
pub(crate) fn run() -> Result {
    // By itself, not with the workspace: so that it has only the features that it asks for.
    cargo::run("the binary under test", &["build", "--package", "tidegate", "--locked"])?;
    cargo::run("the tests' own programs", &["build", "--workspace", "--bin", "bring-tools", "--locked"])?;
    cargo::announce("other people's clients and servers");
    let built = cargo::build_directory()?;
    cargo::finish(&mut Command::new(built.join("bring-tools")))?;

    cargo::announce("tests");
    // Tests that are skipped say so on stderr, past the runner's capture.
    let mut command = cargo::command(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.env("TIDEGATE_BIN", built.join("tidegate"));
    let (succeeded, counts, skipped) = run_counting(&mut command)?;

    cargo::announce("result");
    println!("{} passed, {} failed, {} ignored", counts.passed, counts.failed, counts.ignored);
    if !skipped.is_empty() {
        println!("{} SKIPPED for want of a tool, and counted as passed:\n{}", skipped.len(), skipped.join("\n"));
    }
    if succeeded { Ok(()) } else { Err("tests failed, or could not be built".to_owned()) }
}

/// Runs the tests with their output passed on; gives whether they succeeded, the counts, and lines about skips.
fn run_counting(command: &mut Command) -> Result<(bool, Counts, Vec<String>)> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let stderr = child.stderr.take().expect("piped above");
    let skips = thread::spawn(move || {
        let mut skipped = Vec::new();
        for_each_line(stderr, |line| {
            eprintln!("{line}");
            if line.starts_with("*** SKIPPED") {
                skipped.push(line.to_owned());
            }
        });
        skipped
    });
    let mut counts = Counts::default();
    for_each_line(child.stdout.take().expect("piped above"), |line| {
        println!("{line}");
        counts.add(line);
    });
    let status = child.wait().map_err(|error| error.to_string())?;
    Ok((status.success(), counts, skips.join().expect("the reader of stderr does not panic")))
}

/// Bytes that are no UTF-8 are replaced: a test may print anything.
fn for_each_line(stream: impl Read, mut action: impl FnMut(&str)) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        action(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        line.clear();
    }
}

impl Counts {
    /// Adds what a line says, if it is one of `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some((_, result)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for part in result.split("; ") {
            let Some((number, kind)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_add_up() {
        let mut counts = Counts::default();
        counts.add("running 5 tests");
        counts.add("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        counts.add("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        assert_eq!(counts, Counts { passed: 7, failed: 3, ignored: 1 });
    }
}
