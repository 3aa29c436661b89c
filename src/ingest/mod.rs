//! What the configuration of an ingest server says about recordings: where it writes them, under which names, and where it
//! uploads them itself.
//!
//! ```text
//! mediamtx.yml, srs.conf, nginx.conf, Server.xml, egress.yaml ─▶ Recordings { directories, uploads, notes }
//! ```
//!
//! Each server has a file of its own here. It reads text and an environment, and returns the same [`Recordings`]; what becomes
//! of them (a configuration of ours, the proposal of a first run) is decided below. Credentials are never kept: an
//! [`StoreUpload`] says only which settings held them. Nothing here starts a program or writes a file.

pub mod antmedia;
mod directives;
mod error;
mod files;
pub mod livekit;
pub mod mediamtx;
pub mod nginx_rtmp;
pub mod ome;
mod pattern;
pub mod srs;
mod xml;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

pub use error::IngestError;
pub use files::ServerFiles;
pub use pattern::{EXAMPLE_START_MS, EXAMPLE_STREAM, Pattern, Piece, Time};

/// How a server was started, as far as it decides which configuration is read and what it means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Started {
    /// The program, as the process sees it.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub arguments: Vec<String>,
    /// Its environment; empty if it may not be read.
    pub environment: BTreeMap<String, String>,
    /// Its working directory, as the process sees it.
    pub working_directory: Option<PathBuf>,
}

impl Started {
    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value behind an option (`-c FILE`, `--config FILE` or `--config=FILE`); the last one counts.
    pub(crate) fn option(&self, names: &[&str]) -> Option<&str> {
        let mut last = None;
        for (n, argument) in self.arguments.iter().enumerate() {
            for rest in names.iter().filter_map(|name| argument.strip_prefix(name)) {
                last = if rest.is_empty() {
                    self.arguments.get(n + 1).map(String::as_str)
                } else {
                    rest.strip_prefix('=')
                }
                .or(last);
            }
        }
        last
    }

    /// A path of the server, absolute if its working directory is known.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        let whole = self.working_directory.as_ref().map_or_else(|| path.to_owned(), |from| from.join(path));
        plain(&whole)
    }
}

/// Removes `.` and resolves `..` by name, as configurations with `./recordings` and `../rec` need it.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some_and(|name| name != "..") => {
                plain.pop();
            }
            Component::ParentDir if plain.has_root() => {}
            other => plain.push(other),
        }
    }
    plain
}

/// What a configuration says about recordings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recordings {
    /// Directories that the server records into, each once.
    pub directories: Vec<Directory>,
    /// Stores that the server uploads to itself.
    pub uploads: Vec<StoreUpload>,
    /// What cannot be taken over, or has another meaning, in the order of the file.
    pub notes: Vec<Note>,
}

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where; relative if the server's working directory is not known.
    pub path: PathBuf,
    /// The parts of the configuration that record there, such as "application `live`".
    pub of: Vec<String>,
    /// The names below it, where the configuration decides them.
    pub names: Option<Pattern>,
    /// Whether recording is on.
    pub is_on: bool,
}

/// A store that the server uploads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreUpload {
    /// The section it stands in, such as `s3`.
    pub section: String,
    /// `s3://bucket/prefix`, `az://…`, `gs://…`.
    pub url: String,
    /// Endpoint of an S3-compatible store.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Whether the bucket is in the path.
    pub path_style: Option<bool>,
    /// User metadata of objects.
    pub metadata: Vec<(String, String)>,
    /// Tags of objects.
    pub tags: Vec<(String, String)>,
    /// Settings that hold credentials; their values are not read.
    pub credentials: Vec<String>,
}

/// Something that is said beside the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The setting, as the server calls it.
    pub setting: String,
    /// What becomes of it, and why; without a full stop.
    pub why: String,
}

impl Recordings {
    /// Says something of a setting, once.
    pub(crate) fn note(&mut self, setting: impl Into<String>, why: impl Into<String>) {
        let note = Note { setting: setting.into(), why: why.into() };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds a directory, or another part that records into one.
    pub(crate) fn directory(&mut self, path: PathBuf, of: String, names: Option<Pattern>, is_on: bool) {
        let same = |d: &&mut Directory| d.path == path && d.names == names && d.is_on == is_on;
        match self.directories.iter_mut().find(same) {
            Some(known) => known.of.push(of),
            None => self.directories.push(Directory { path, of: vec![of], names, is_on }),
        }
    }
}

/// Whether a value means yes or no, in the words of YAML 1.1, SRS and nginx.
pub(crate) fn flag(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "y" | "1" => Some(true),
        "no" | "false" | "off" | "n" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_option_counts_in_either_form() {
        let arguments = ["-c", "a.conf", "--config=b", "-c", "c.conf"].map(str::to_owned).to_vec();
        let started = Started { arguments, ..Started::default() };
        assert_eq!(started.option(&["-c"]), Some("c.conf"));
        assert_eq!(started.option(&["--config"]), Some("b"));
        assert_eq!(started.option(&["--conf"]), None, "another option begins with it");
        assert_eq!(started.option(&["-p"]), None);
    }

    #[test]
    fn a_path_is_taken_from_the_working_directory() {
        let started = Started { working_directory: Some("/opt/srs".into()), ..Started::default() };
        assert_eq!(started.resolve("./objs/../rec"), Path::new("/opt/srs/rec"));
        assert_eq!(started.resolve("/rec/../../x"), Path::new("/x"));
        assert_eq!(Started::default().resolve("./rec/x"), Path::new("rec/x"));
        assert_eq!(Started::default().resolve("../rec"), Path::new("../rec"));
    }
}
