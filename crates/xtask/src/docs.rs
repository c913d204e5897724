//! The pages of `docs/` that are written by the code they describe.

use std::fs;

use crate::{Result, cargo::root};

/// A page and what it must say.
struct Page {
    path: &'static str,
    text: fn() -> String,
}

const PAGES: &[Page] = &[
    Page { path: "docs/config.md", text: tidegate_config::reference_markdown },
    Page { path: "docs/close-codes.md", text: tidegate_session::reference_markdown },
    Page { path: "docs/metrics.md", text: tidegate_proxy::metrics::reference_markdown },
];

/// Writes all pages.
pub(crate) fn write() -> Result {
    for page in PAGES {
        let path = root().join(page.path);
        fs::write(&path, (page.text)()).map_err(|error| format!("cannot write {}: {error}", page.path))?;
        println!("{}", page.path);
    }
    Ok(())
}

/// Finds pages that no longer say what the code says.
pub(crate) fn check() -> Result {
    let stale = |page: &&Page| fs::read_to_string(root().join(page.path)).ok() != Some((page.text)());
    let stale: Vec<_> = PAGES.iter().filter(stale).map(|page| page.path).collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("out of date: {}; `cargo xtask docs` writes them", stale.join(", ")))
}
