//! Directories of the build: where the binary is, where tools and temporary files go.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// `target/<profile>`: where cargo put the test executable's siblings.
///
/// # Panics
/// When the running executable is not inside a target directory.
pub fn profile_directory() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of this executable");
    let directory = executable.parent().expect("an executable lies in a directory");
    // Tests lie in `deps`, binaries beside it.
    let profile = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    profile.expect("a profile directory").to_owned()
}

/// `target`.
///
/// # Panics
/// As [`profile_directory`].
pub fn target_directory() -> PathBuf {
    profile_directory().parent().expect("a target directory").to_owned()
}

/// The root of the `tests` package.
pub fn package_directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Removes what earlier runs left behind: the evidence of failures, and what a dying process still wrote to.
pub fn clear() {
    // There may be nothing.
    let _ = fs::remove_dir_all(target_directory().join("tmp"));
}

/// A temporary directory, removed on drop unless the test failed: then it is evidence.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates `target/tmp/<name>-<pid>-<n>`.
    ///
    /// # Panics
    /// When the directory cannot be made.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = target_directory().join("tmp").join(unique);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        Self(path)
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Litter in a temporary directory is no reason to fail a test.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
