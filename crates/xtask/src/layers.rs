//! The pure crates stay pure: each one's whole dependency tree is written down here.
//!
//! No tokio, hyper, prometheus, file, socket, thread, random or clock comes into them through a dependency's dependency
//! without this list being changed, and so without someone noticing.

use std::collections::BTreeSet;

use crate::{Result, cargo};

/// A pure crate and everything that may be in its tree, itself left out.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer { name: "tidegate-wire", may_use: &["simdutf8"] },
    Layer { name: "tidegate-session", may_use: &["simdutf8", "tidegate-wire"] },
    Layer { name: "tidegate-governor", may_use: &[] },
    Layer {
        name: "tidegate-config",
        may_use: &[
            "tidegate-governor",
            "tidegate-session",
            "tidegate-wire",
            "simdutf8",
            "strsim",
            "ipnet",
            // arc-swap
            "arc-swap",
            "rustversion",
            // annotate-snippets
            "annotate-snippets",
            "anstyle",
            "memchr",
            "unicode-width",
            // toml
            "toml",
            "serde_core",
            "serde_spanned",
            "toml_datetime",
            "toml_parser",
            "toml_writer",
            "winnow",
        ],
    },
];

/// Compares the trees with the lists.
pub(crate) fn check() -> Result {
    let mut intruders = Vec::new();
    for layer in LAYERS {
        // What is built into the crate: neither its tests' dependencies nor its build scripts'.
        let arguments = ["tree", "--package", layer.name, "--edges", "normal", "--prefix", "none", "--locked"];
        for name in names(&cargo::output(&arguments)?) {
            if name != layer.name && !layer.may_use.contains(&name) {
                intruders.push(format!("{} must not depend on {name}", layer.name));
            }
        }
    }
    if intruders.is_empty() { Ok(()) } else { Err(intruders.join("\n")) }
}

/// The packages of a tree, each line of which is `name v1.2.3 (…)`.
fn names(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_trees_lines_begin_with_names() {
        let tree = "toml v1.2.1+spec-1.1.0\nwinnow v1.0.5\ntidegate-wire v0.1.0 (/somewhere) (*)\nwinnow v1.0.5\n";
        assert_eq!(names(tree), ["tidegate-wire", "toml", "winnow"].into());
    }
}
