//! Where things lie in a state directory.

use std::path::{Path, PathBuf};

/// Directory of the database.
pub(super) fn database_path(state_dir: &Path) -> PathBuf {
    state_dir.join("catalog")
}

/// The lock file.
pub(super) fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}
