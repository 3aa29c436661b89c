//! Tests of the room as a whole: sources, example and documentation, sample files, import.

mod documents;
mod import;
mod imports;
mod samples;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, FileText, read};

/// An environment with a home, and what is given.
fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let home = ("HOME", "/home/op");
    pairs.iter().chain([&home]).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn from_text(text: &str) -> Result<Config, ConfigError> {
    read(Some(FileText { path: Path::new("config.toml"), text }), &env(&[]), &[])
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a file with what it should hold; `UPDATE_EXPECTED=1` writes it instead.
fn assert_file(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{} is out of date: UPDATE_EXPECTED=1 cargo test --lib config", path.display());
}
