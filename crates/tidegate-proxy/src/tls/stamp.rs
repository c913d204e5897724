//! Whether files have changed, without reading them.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// What files looked like. A file behind symbolic links is the one that they lead to: Kubernetes changes a secret by
/// putting a new link in the place of `..data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<Look>>);

/// Device and inode, size, and when it was last changed, in seconds and nanoseconds.
type Look = ((u64, u64), u64, (i64, i64), (i64, i64));

impl Stamp {
    pub(super) fn of(files: impl Iterator<Item = impl AsRef<Path>>) -> Self {
        let look = |file: fs::Metadata| {
            (
                (file.dev(), file.ino()),
                file.size(),
                (file.mtime(), file.mtime_nsec()),
                (file.ctime(), file.ctime_nsec()),
            )
        };
        Self(files.map(|file| fs::metadata(file).ok().map(look)).collect())
    }
}
