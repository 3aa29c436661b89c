//! Where the finished file goes and what it is called: fixed once, never changed afterwards.

use std::path::{Path, PathBuf};

use super::FinishOptions;
use crate::recording::journey::Candidate;
use crate::recording::name::{DEFAULT_DATE_PATTERN, finished_stem, format_time, numbered, with_subfolder};

/// How many numbers are tried before giving up; a directory with so many equal names has another problem.
const MOST_NUMBERS: u32 = 100_000;

/// The paths that the finished file may have, best first: directory, stem, `_1`, `_2` …, as far as they are free on the disk.
/// The first that nobody else has is the one.
///
/// `temporary_suffixes` mark names that a running server owns.
pub fn free_paths(
    candidate: &Candidate,
    name_request: &NameRequest,
    options: &FinishOptions,
    temporary_suffixes: &[String],
) -> impl Iterator<Item = PathBuf> {
    let directory = finished_directory(candidate, name_request.start_ms, options);
    let stem = dated_stem(candidate, name_request.start_ms, options);
    let paths = (0..MOST_NUMBERS).map(move |n| directory.join(numbered(&stem, name_request.extension, n)));
    paths.filter(|path| is_free(path, candidate, name_request, temporary_suffixes))
}

/// What a finished file wants to be called.
#[derive(Debug, Clone, Copy)]
pub struct NameRequest {
    /// Its extension, without the dot.
    pub extension: &'static str,
    /// When the recording began, milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Whether it may have the candidate's own name: the candidate is that file, or is replaced by it.
    pub may_be_own: bool,
}

/// Whether neither the name nor one of its temporary forms is on disk, but for the candidate itself.
pub fn is_free(path: &Path, candidate: &Candidate, name_request: &NameRequest, temporary_suffixes: &[String]) -> bool {
    let is_absent = |path: &Path| !exists(path);
    let is_own_temporary = |path: &Path| path == candidate.path;
    (is_absent(path) || (name_request.may_be_own && path == candidate.path))
        && temporary_suffixes
            .iter()
            .map(|suffix| with_suffix(path, suffix))
            .all(|p| is_absent(&p) || is_own_temporary(&p))
}

fn finished_directory(candidate: &Candidate, start_ms: i64, options: &FinishOptions) -> PathBuf {
    let parent = candidate.path.parent().unwrap_or(Path::new("/"));
    let date = format_time(start_ms, &options.time_zone, "%Y-%m-%d").unwrap_or_default();
    let stream = candidate.facts.stream_id.replace('/', "_");
    with_subfolder(parent, &options.recording_subfolder.replace("{stream}", &stream).replace("{date}", &date))
}

fn dated_stem(candidate: &Candidate, start_ms: i64, options: &FinishOptions) -> String {
    let date = options.add_date_time_to_mp4_file_name.then(|| {
        format_time(start_ms, &options.time_zone, &options.date_pattern)
            .or_else(|| format_time(start_ms, &options.time_zone, DEFAULT_DATE_PATTERN))
            .unwrap_or_default()
    });
    finished_stem(&candidate.facts.stem, date.as_deref())
}

fn exists(path: &Path) -> bool {
    !crate::durable::metadata(path).is_err_and(|error| error.is_missing())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::recording::Fingerprint;
    use crate::recording::journey::NameFacts;

    /// The path that a recording gets, of those that nobody else has.
    fn chosen(
        candidate: &Candidate,
        name_request: &NameRequest,
        options: &FinishOptions,
        promised: &[PathBuf],
    ) -> Option<PathBuf> {
        free_paths(candidate, name_request, options, &suffixes()).find(|path| !promised.contains(path))
    }

    fn candidate(path: PathBuf, stem: &str) -> Candidate {
        Candidate {
            root: path.parent().unwrap().to_owned(),
            path,
            server: "antmedia".into(),
            is_temporary: true,
            facts: NameFacts { stream_id: stem.into(), stem: stem.into(), ..NameFacts::default() },
            fingerprint: Fingerprint { device: 1, inode: 1, size_bytes: 1, mtime_ns: 0 },
        }
    }

    fn suffixes() -> Vec<String> {
        vec![".tmp".into(), ".tmp_extension".into()]
    }

    fn name_request(start_ms: i64) -> NameRequest {
        NameRequest { extension: "mp4", start_ms, may_be_own: false }
    }

    #[test]
    fn its_own_name_is_free_only_for_what_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("x.mp4");
        fs::write(&source, "").unwrap();
        let choose = |may_be_own| {
            let name_request = NameRequest { may_be_own, ..name_request(0) };
            chosen(&candidate(source.clone(), "x"), &name_request, &FinishOptions::default(), &[])
        };
        assert_eq!(choose(true), Some(source.clone()));
        assert_eq!(choose(false), Some(dir.path().join("x_1.mp4")));
    }

    #[test]
    fn a_name_is_taken_by_the_disk_a_live_temporary_and_the_catalogue() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let source = at("x.flv.tmp");
        fs::write(&source, "").unwrap();
        let choose = |promised: &[PathBuf]| {
            chosen(&candidate(source.clone(), "x"), &name_request(0), &FinishOptions::default(), promised).unwrap()
        };
        assert_eq!(choose(&[]), at("x.mp4"));
        fs::write(at("x.mp4"), "").unwrap();
        assert_eq!(choose(&[]), at("x_1.mp4"));
        fs::write(at("x_1.mp4.tmp_extension"), "").unwrap();
        assert_eq!(choose(&[]), at("x_2.mp4"));
        assert_eq!(choose(&[at("x_2.mp4")]), at("x_3.mp4"));
    }

    #[test]
    fn a_recordings_own_names_are_free_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let temporary = dir.path().join("x.mp4.tmp_extension");
        fs::write(&temporary, "").unwrap();
        let path = chosen(&candidate(temporary, "x"), &name_request(0), &FinishOptions::default(), &[]);
        assert_eq!(path, Some(dir.path().join("x.mp4")));
    }

    #[test]
    fn subfolder_and_date_are_filled_from_the_start() {
        let options = FinishOptions {
            recording_subfolder: "vod/{date}/{stream}".into(),
            add_date_time_to_mp4_file_name: true,
            time_zone: jiff::tz::TimeZone::UTC,
            ..FinishOptions::default()
        };
        let candidate = candidate(PathBuf::from("/srv/none/room1.flv"), "room1");
        let path = chosen(&candidate, &name_request(1_772_634_615_000), &options, &[]);
        assert_eq!(path, Some("/srv/none/vod/2026-03-04/room1/room1_2026-03-04_14-30-15.mp4".into()));
    }
}
