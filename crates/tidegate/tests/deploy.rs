//! The configurations that are shipped are good ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn check(name: &str, toml: &str) {
    if let Err(errors) = tidegate_config::parse(name, toml) {
        panic!("{}", errors.render(false));
    }
}

/// All files below a directory whose names end so.
fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            found.extend(files(&path, suffix));
        } else if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_example_is_a_good_configuration() {
    let examples = files(&deploy(), ".toml");
    assert!(examples.len() >= 6, "{examples:?}");
    for example in examples {
        check(&example.display().to_string(), &fs::read_to_string(&example).expect("a text"));
    }
}

#[test]
fn the_configuration_in_the_manifest_is_a_good_one() {
    let manifest = fs::read_to_string(deploy().join("kubernetes.yaml")).expect("a text");
    let (_, rest) = manifest.split_once("tidegate.toml: |\n").expect("a ConfigMap with a file in it");
    let indented = |line: &&str| line.is_empty() || line.starts_with("    ");
    let toml: Vec<&str> = rest.lines().take_while(indented).map(str::trim_start).collect();
    check("kubernetes.yaml", &toml.join("\n"));
}

#[test]
fn the_readmes_configuration_is_a_good_one() {
    let readme = fs::read_to_string(deploy().join("../README.md")).expect("a text");
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let configurations: Vec<&str> = blocks.map(|(toml, _)| toml).collect();
    assert!(!configurations.is_empty());
    configurations.iter().for_each(|toml| check("README.md", toml));
}
