//! No dependency is older than the fix of a flaw that was found in it, and the lock files say what is built.
//!
//! The advisory database is not at hand where this runs, so the fixes are written down here.

use std::fs;

use crate::{
    Result,
    cargo::{self, root},
};

/// The workspaces: ours, and that of the fuzz targets, which no build looks at.
const WORKSPACES: [&str; 2] = [".", "tests/fuzz"];

/// `major.minor.patch`.
type Version = (u64, u64, u64);

/// A crate, its oldest version that is good, and why.
const FLOORS: &[(&str, Version, &str)] = &[
    ("aws-lc-sys", (0, 39, 0), "RUSTSEC-2026-0044, RUSTSEC-2026-0048"),
    ("h2", (0, 4, 16), "RUSTSEC-2026-0258, RUSTSEC-2024-0332, RUSTSEC-2024-0003"),
    ("hyper", (1, 0, 0), "RUSTSEC-2021-0079 and its kin"),
    ("protobuf", (3, 7, 2), "unbounded recursion; comes with a default feature of prometheus that we switch off"),
    ("rustls", (0, 23, 45), "RUSTSEC-2026-0285, RUSTSEC-2024-0399, RUSTSEC-2024-0336"),
    ("rustls-webpki", (0, 103, 13), "RUSTSEC-2026-0049, -0098, -0099, -0104"),
    ("time", (0, 3, 47), "RUSTSEC-2026-0009"),
    ("tokio", (1, 23, 1), "RUSTSEC-2023-0001, RUSTSEC-2023-0005"),
    ("tracing-subscriber", (0, 3, 20), "RUSTSEC-2025-0055"),
    ("tungstenite", (0, 20, 1), "RUSTSEC-2023-0065"),
];

/// Compares each `Cargo.lock` with its manifests and with the floors.
pub(crate) fn check() -> Result {
    for workspace in WORKSPACES {
        let path = root().join(workspace).join("Cargo.lock");
        let manifest = format!("{workspace}/Cargo.toml");
        let mut current =
            cargo::command(&["update", "--workspace", "--locked", "--quiet", "--manifest-path", &manifest]);
        let mend = format!("{}: `cargo update --workspace --manifest-path {manifest}` mends it", path.display());
        cargo::finish(&mut current).map_err(|error| format!("{mend}\n{error}"))?;
        let lock = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let found = too_old(&lock)?;
        if !found.is_empty() {
            return Err(format!("{}:\n{}", path.display(), found.join("\n")));
        }
    }
    Ok(())
}

fn too_old(lock: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, version) in packages(lock) {
        let Some((_, floor, why)) = FLOORS.iter().find(|(with_floor, ..)| *with_floor == name) else { continue };
        if parse(version).ok_or_else(|| format!("{name} has the version {version:?}"))? < *floor {
            found.push(format!("{name} {version} is older than {}.{}.{}: {why}", floor.0, floor.1, floor.2));
        }
    }
    Ok(found)
}

/// Name and version of every package.
fn packages(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    lock.split("[[package]]").skip(1).filter_map(|package| {
        let field = |key| package.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix('"'));
        Some((field("name = \"")?, field("version = \"")?))
    })
}

/// Pre-release and build are left out: `1.2.3-rc.1+x` is taken as `1.2.3`.
fn parse(version: &str) -> Option<Version> {
    let mut numbers = version.split(['-', '+']).next()?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_below_a_floor_are_found() {
        let lock = "version = 4\n\n[[package]]\nname = \"tokio\"\nversion = \"1.23.0\"\n\n[[package]]\nname = \"h2\"\nversion = \"0.4.16\"\n";
        let found = too_old(lock).expect("good versions");
        assert_eq!(found, ["tokio 1.23.0 is older than 1.23.1: RUSTSEC-2023-0001, RUSTSEC-2023-0005"]);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(parse("0.103.16").expect("a version") > (0, 103, 9));
        assert_eq!(parse("1.9.0+wasi-snapshot"), Some((1, 9, 0)));
        assert_eq!(parse("one"), None);
    }
}
