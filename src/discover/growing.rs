//! Which files of a stream are being written now: facts for whoever asks, without waiting for a file to settle.
//!
//! It reads the state of files and of the processes that have them open. It decides nothing about a recording, and
//! changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidate::NameClass;
use super::lease::{self, LeaseState};
use super::options::Server;
use super::preset::Namer;
use super::writers::OpenFiles;
use crate::recording::Fingerprint;

/// A file whose last write is not older than this counts as growing. Servers write at least every few seconds; the slowest seen
/// are recorders of sound alone behind a buffer of 32 KiB.
pub const GROWS_WITHIN: Duration = Duration::from_secs(30);

/// Whether some process has a file open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OpenFor {
    /// Some process has it open for writing.
    Writing,
    /// No process has.
    Nobody,
    /// It cannot be told.
    Unknown,
}

/// A file of a stream as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Growth {
    /// The file.
    pub path: PathBuf,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Its last write, milliseconds since the Unix epoch.
    pub grown_ms: i64,
    /// Whether a process has it open for writing.
    pub writer: OpenFor,
}

impl Growth {
    /// Looks at a file; `None` if it is no file any more.
    pub fn of(path: &Path, processes: &OpenFiles) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        let fingerprint = Fingerprint::of(&found);
        Some(Self {
            path: path.to_owned(),
            size_bytes: fingerprint.size_bytes,
            grown_ms: fingerprint.mtime_ms(),
            writer: writer_of(path, &fingerprint, processes),
        })
    }

    /// Whether it is being written: its last write is recent, and it was not closed after it as far as can be told.
    pub fn is_growing(&self, now_ms: i64) -> bool {
        self.writer != OpenFor::Nobody && is_recent(self.grown_ms, now_ms)
    }
}

/// Whether a write at that time is so recent that its recording may go on. A clock of a file server may be ahead of ours.
pub fn is_recent(write_ms: i64, now_ms: i64) -> bool {
    u128::from(now_ms.saturating_sub(write_ms).unsigned_abs()) <= GROWS_WITHIN.as_millis()
}

fn writer_of(path: &Path, file: &Fingerprint, processes: &OpenFiles) -> OpenFor {
    match lease::probe(path) {
        LeaseState::Held => OpenFor::Writing,
        LeaseState::Free => OpenFor::Nobody,
        LeaseState::Unavailable(_) if processes.is_written(file) => OpenFor::Writing,
        LeaseState::Unavailable(_) if processes.is_complete() && !lease::is_on_network(path) => OpenFor::Nobody,
        LeaseState::Unavailable(_) => OpenFor::Unknown,
    }
}

/// What the open files of all processes say of a stream below a root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenHere {
    /// Its files that some process has open for writing.
    pub files: Vec<PathBuf>,
    /// Whether it is certain that there are no others.
    pub is_certain: bool,
}

/// Servers that keep a file of the stream's name open in the root for as long as they record. `LiveKit` writes elsewhere first,
/// `OvenMediaEngine` under a name that is no stream's.
const KEEP_OPEN: [Server; 4] = [Server::AntMedia, Server::MediaMtx, Server::NginxRtmp, Server::Srs];

/// Which files of a stream below a root are open for writing. `server` is the one that the settings name for the root.
pub fn open_here(processes: &OpenFiles, root: &Path, server: Server, namer: &Namer, stream: &str) -> OpenHere {
    let Ok(real) = root.canonicalize() else { return OpenHere::default() };
    let sees_all = processes.is_complete() && !lease::is_on_network(&real) && KEEP_OPEN.contains(&server);
    let mut here = OpenHere { files: Vec::new(), is_certain: sees_all };
    for (file, path) in processes.written() {
        let Some(name) = path.file_name().filter(|name| is_recording(namer, name)) else { continue };
        match path.strip_prefix(&real).ok().filter(|_| is_file(path, file)) {
            Some(below) if namer.read(below).facts.stream_id == stream => here.files.push(root.join(below)),
            Some(_) => {}
            // A container or a second mount may show the root under another path.
            None => here.is_certain &= !(may_be_of(path, namer, stream) || name.to_str().is_none()),
        }
    }
    here.files.sort();
    here
}

fn is_recording(namer: &Namer, name: &std::ffi::OsStr) -> bool {
    matches!(namer.rules().class(name), NameClass::Recording { .. })
}

/// Whether a path is that of a file, and not of another that a process sees there.
fn is_file(path: &Path, (device, inode): (u64, u64)) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (device, inode))
}

/// Whether a path would be the stream's below any of its directories.
fn may_be_of(path: &Path, namer: &Namer, stream: &str) -> bool {
    path.ancestors().skip(1).filter_map(|above| path.strip_prefix(above).ok()).any(|below| {
        let reading = namer.read(below);
        reading.facts.stream_id == stream
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::{RootOptions, root_of};
    use std::fs::File;
    use std::process::{Child, Command, Stdio};

    fn namer(path: &Path, server: Server) -> Namer {
        let root = RootOptions { server, ..root_of(path, &[]).root };
        Namer::new(&root, &[], jiff::tz::TimeZone::UTC).unwrap()
    }

    /// A process that has a file open for writing until it is dropped.
    struct Holds(Child);

    impl Holds {
        fn open(path: &Path) -> Self {
            let file = File::create(path).unwrap();
            Self(Command::new("sleep").arg("600").stdout(Stdio::from(file)).spawn().unwrap())
        }
    }

    impl Drop for Holds {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn a_file_grows_while_its_last_write_is_recent_and_it_is_not_closed() {
        let now_ms = 1_700_000_000_000;
        let window_ms = i64::try_from(GROWS_WITHIN.as_millis()).unwrap();
        let growth =
            |ago_ms: i64, writer| Growth { path: "x".into(), size_bytes: 1, grown_ms: now_ms - ago_ms, writer };
        for (ago_ms, writer, is_growing) in [
            (0, OpenFor::Writing, true),
            (window_ms, OpenFor::Writing, true),
            (window_ms + 1, OpenFor::Writing, false),
            (-2_000, OpenFor::Unknown, true),
            (-window_ms - 1, OpenFor::Unknown, false),
            (0, OpenFor::Nobody, false),
        ] {
            assert_eq!(growth(ago_ms, writer).is_growing(now_ms), is_growing, "{ago_ms} {writer:?}");
        }
    }

    #[test]
    fn open_files_of_a_stream_are_found_and_those_of_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let namer = namer(&path, Server::NginxRtmp);
        let open = |stream: &str| open_here(&OpenFiles::read(), &path, Server::NginxRtmp, &namer, stream).files;
        let file = path.join("room1-1700000000.flv");
        let writer = Holds::open(&file);
        assert_eq!(open("room1"), [file.as_path()]);
        assert!(open("room2").is_empty() && open("room1-1700000000").is_empty());
        let growth = Growth::of(&file, &OpenFiles::read()).unwrap();
        assert_eq!((growth.writer, growth.size_bytes), (OpenFor::Writing, 0));
        assert!(growth.is_growing(jiff::Timestamp::now().as_millisecond()), "{growth:?}");
        drop(writer);
        assert_eq!(Growth::of(&path.join("none.flv"), &OpenFiles::read()), None);
    }

    #[test]
    fn a_file_of_the_stream_elsewhere_makes_its_absence_uncertain() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let namer = namer(here.path(), Server::MediaMtx);
        let below = elsewhere.path().join("recordings/live/cam1");
        fs::create_dir_all(&below).unwrap();
        let _writer = Holds::open(&below.join("2026-03-04_14-30-15-000000.mp4"));
        let processes = OpenFiles::read();
        let certain = |stream: &str| open_here(&processes, here.path(), Server::MediaMtx, &namer, stream).is_certain;
        assert!(!certain("live/cam1") && !certain("cam1"));
        assert_eq!(certain("live/cam2"), processes.is_complete());
        assert!(!open_here(&processes, here.path(), Server::Auto, &namer, "live/cam2").is_certain);
        assert!(!open_here(&processes, Path::new("/nowhere"), Server::MediaMtx, &namer, "live/cam2").is_certain);
    }
}
