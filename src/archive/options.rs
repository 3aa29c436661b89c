//! What an operator can set about recordings that lie in a bucket.

use std::path::PathBuf;

/// Settings of `[archive]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Where recordings go that have to be read as a whole; `None`: `scratch` in the state directory.
    pub scratch_dir: Option<PathBuf>,
    /// Most bytes that lie there at a time. Default 20 GiB.
    pub scratch_bytes: u64,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self { scratch_dir: None, scratch_bytes: 20 << 30 }
    }
}
