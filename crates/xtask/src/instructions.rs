//! Instructions, counted by callgrind, against those committed. Unlike times they hardly depend on what else a machine
//! does, so CI can compare them.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, process::Command};

use crate::{Result, cargo::root};

/// Instructions of each workload's operation.
const COMMITTED: &str = "crates/bench-micro/instructions.txt";

/// How far a count may be off with the same compiler, in percent. Counts repeat to the instruction; but the C library
/// chooses its `memcpy`, and `simdutf8` its code, by what the processor can do, and these are a few percent of most
/// workloads. What is worth noticing is more than that.
const TOLERANCE: f64 = 3.0;
/// The same with another compiler. One release of rustc differs from the next by less than this in all that was seen,
/// and an operation that does needless work again, such as an allocation, by more.
const TOLERANCE_OTHER_COMPILER: f64 = 25.0;

type Counts = BTreeMap<String, f64>;

/// Runs the workloads under `valgrind` and compares; or writes what it found, with `bless`.
pub(crate) fn check(valgrind: &str, program: &Path, bless: bool) -> Result {
    let compiler = compiler()?;
    let found = count(valgrind, program)?;
    let path = root().join(COMMITTED);
    if bless {
        fs::write(&path, write(&compiler, &found)).map_err(|error| format!("cannot write {COMMITTED}: {error}"))?;
        println!("{COMMITTED} has {} counts, for {compiler}", found.len());
        return Ok(());
    }
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {COMMITTED}: {error}"))?;
    let (of, committed) = read(&text)?;
    let tolerance = if of == compiler { TOLERANCE } else { TOLERANCE_OTHER_COMPILER };
    if of != compiler {
        println!("*** The counts are for {of}, this is {compiler}: they may differ by {tolerance} % ***");
    }
    let (table, wrong) = compare(&committed, &found, tolerance);
    println!("{table}");
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} more than {tolerance} % off {COMMITTED}:\n{}\nIf that is meant, `cargo xtask bench micro --bless` writes the \
         file anew; a count that fell is written too, else the way back up would not be noticed",
        if wrong.len() == 1 { "a count is" } else { "counts are" },
        wrong.join("\n")
    ))
}

/// What compiled the workloads, and for what.
fn compiler() -> Result<String> {
    let program = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(&program).arg("-vV").output().map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown");
    Ok(format!("rustc {} {}", field("release: "), field("host: ")))
}

fn count(valgrind: &str, program: &Path) -> Result<Counts> {
    let out = program.with_extension("callgrind");
    let mut command = Command::new(valgrind);
    command.args(["--quiet", "--tool=callgrind", "--dump-before=micro::boundary"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(program);
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    // The program says what it did: name, how often. Each workload has a boundary before it and one behind it, and each
    // boundary a file of its own, with what was counted since the one before.
    let mut counts = Counts::new();
    for (number, line) in String::from_utf8_lossy(&output.stdout).lines().enumerate() {
        let (name, times) = line.split_once('\t').ok_or_else(|| format!("no workload: {line:?}"))?;
        let times: f64 = times.parse().map_err(|_| format!("{line:?} does not end with a number"))?;
        let dump = format!("{}.{}", out.display(), 2 * (number + 1));
        let profile = fs::read_to_string(&dump).map_err(|error| format!("{dump}: {error}"))?;
        let total = total(&profile).ok_or_else(|| format!("{dump} has no summary"))?;
        counts.insert(name.to_owned(), total / times);
    }
    Ok(counts)
}

/// All that a profile counted.
fn total(profile: &str) -> Option<f64> {
    profile.lines().find_map(|line| line.strip_prefix("summary: "))?.trim().parse().ok()
}

fn write(compiler: &str, counts: &Counts) -> String {
    let mut text = format!(
        "# Instructions of one operation of each workload, counted by callgrind.\n\
         # Written by `cargo xtask bench micro --bless`, compared by `cargo xtask check`.\n{compiler}\n"
    );
    for (name, count) in counts {
        let _ = writeln!(text, "{name} {count:.1}");
    }
    text
}

fn read(text: &str) -> Result<(String, Counts)> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let compiler = lines.next().unwrap_or_default().to_owned();
    let count = |line: &str| {
        let (name, count) = line.rsplit_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    let counts = lines.map(|line| count(line).ok_or_else(|| format!("{COMMITTED}: no count in {line:?}")));
    Ok((compiler, counts.collect::<Result<_>>()?))
}

/// A table of everything, and lines about what is not as committed.
fn compare(committed: &Counts, found: &Counts, tolerance: f64) -> (String, Vec<String>) {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for (name, now) in found {
        let Some(before) = committed.get(name) else {
            wrong.push(format!("  {name}: {now:.1}, and none is committed"));
            continue;
        };
        let change = (now / before - 1.0) * 100.0;
        let line = format!("  {name}: {now:.1}, committed {before:.1} ({change:+.1} %)");
        let _ = writeln!(table, "{line}");
        if change.abs() > tolerance {
            wrong.push(line);
        }
    }
    wrong.extend(
        committed.keys().filter(|name| !found.contains_key(*name)).map(|name| format!("  {name}: no such workload")),
    );
    (table, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> Counts {
        of.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let found = counts(&[("scanner, 32 B", 41.5), ("utf-8", 3.0)]);
        assert_eq!(read(&write("rustc 1.95.0 x", &found)), Ok(("rustc 1.95.0 x".to_owned(), found)));
        assert!(read("rustc 1\nnonsense\n").is_err());
    }

    #[test]
    fn counts_off_by_more_than_the_tolerance_are_found_either_way() {
        let committed = counts(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("gone", 1.0)]);
        let found = counts(&[("a", 102.9), ("b", 103.1), ("c", 96.0), ("new", 1.0)]);
        let (_, wrong) = compare(&committed, &found, 3.0);
        let names: Vec<_> = wrong.iter().map(|line| line.trim().split(':').next().unwrap_or_default()).collect();
        assert_eq!(names, ["b", "c", "new", "gone"]);
    }
}
