//! Secrets that settings only name the place of: a file, or as `env:NAME` an environment variable.

use std::io;
use std::path::Path;

/// Reads one. Its errors never show it.
pub fn read(from: &Path) -> io::Result<String> {
    match from.to_str().and_then(|from| from.strip_prefix("env:")) {
        Some(name) => std::env::var(name).map_err(|_| io::Error::other("the variable is not set")),
        None => std::fs::read_to_string(from),
    }
}
