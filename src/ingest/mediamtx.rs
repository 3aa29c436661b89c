//! MediaMTX: `mediamtx.yml`, and the variables `MTX_…` that overrule it.
//!
//! A setting of a path is looked for in this order: the path, `pathDefaults`, the top level (releases before 1.4), MediaMTX's own
//! default. In each of them the environment wins over the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::IngestError;
use super::pattern::{Pattern, Piece, Time};
use super::yaml::{self, Node};
use super::{Recordings, ServerFiles, Started, flag};

/// Names of its process; the kernel cuts them after 15 bytes.
pub const PROCESS_NAMES: [&str; 2] = ["mediamtx", "rtsp-simple-ser"];

/// Where it looks for its configuration if it is given none; the first two below its working directory.
pub const DEFAULT_PATHS: [&str; 6] = [
    "rtsp-simple-server.yml",
    "mediamtx.yml",
    "/usr/local/etc/mediamtx.yml",
    "/usr/pkg/etc/mediamtx.yml",
    "/usr/etc/mediamtx.yml",
    "/etc/mediamtx/mediamtx.yml",
];

const DEFAULT_RECORD_PATH: &str = "./recordings/%path/%Y-%m-%d_%H-%M-%S-%f";

/// What to do about recordings that it deletes itself.
const DECIDE: &str = "uploaded or not; set it to 0s there and decide with delete_local of [retain]";

/// Where the configuration of a process may be, the first that exists counts.
pub fn places(started: &Started) -> Vec<PathBuf> {
    let named = started.arguments.iter().find(|argument| !argument.is_empty() && !argument.starts_with('-'));
    let paths = named.map_or_else(|| DEFAULT_PATHS.to_vec(), |path| vec![path]);
    paths.into_iter().map(|path| started.resolve(path)).collect()
}

/// A configuration, with the environment over it.
#[derive(Debug, Clone)]
pub struct Configuration<'a> {
    file: Node,
    started: &'a Started,
}

impl<'a> Configuration<'a> {
    /// Reads the text of a file.
    pub fn parse(text: &str, path: &Path, started: &'a Started) -> Result<Self, IngestError> {
        let file = yaml::parse(text, path)?;
        match file {
            Node::Map(_) | Node::Nothing => Ok(Self { file, started }),
            Node::Text(_) | Node::List(_) => {
                Err(IngestError::syntax(path, 1, "not a map of settings (an encrypted configuration cannot be read)"))
            }
        }
    }

    /// Whether the environment asks for an encrypted configuration.
    pub fn is_encrypted(started: &Started) -> bool {
        started.variable("MTX_CONFKEY").or_else(|| started.variable("RTSP_CONFKEY")).is_some()
    }

    /// Whether the playback server is on; off by default.
    pub fn has_playback(&self) -> bool {
        // What is not plainly off may be on.
        self.value(&[], "playback").is_some_and(|value| flag(value) != Some(false))
    }

    /// Whether there is any setting at all.
    pub fn is_empty(&self) -> bool {
        self.file.entries().is_empty()
    }

    /// A setting below a section.
    fn value(&self, section: &[&str], key: &str) -> Option<&str> {
        let mut name = section.iter().map(|part| (*part).to_uppercase()).collect::<Vec<_>>();
        name.push(key.to_uppercase());
        let name = name.join("_");
        let by_variable = ["MTX", "RTSP"].iter().find_map(|prefix| self.started.variable(&format!("{prefix}_{name}")));
        let node = section.iter().try_fold(&self.file, |node, part| node.get(part));
        by_variable.or_else(|| node.and_then(|node| node.text(key)))
    }

    /// A setting of a path, with what it inherits.
    fn of_path(&self, path: Option<&str>, key: &str) -> Option<&str> {
        let own = path.and_then(|path| self.value(&["paths", path], key));
        own.or_else(|| self.value(&["pathDefaults"], key)).or_else(|| self.value(&[], key))
    }

    /// The paths that are configured by name, in the order of the file, then those that only the environment names.
    fn paths(&self) -> Vec<String> {
        let in_file = self.file.get("paths").map(Node::entries).unwrap_or_default();
        let mut paths: Vec<String> = in_file.iter().map(|(name, _)| name.clone()).collect();
        let known: BTreeSet<String> = paths.iter().map(|name| name.to_uppercase()).collect();
        let named = self.started.environment.keys().filter_map(|name| {
            let path =
                name.strip_prefix("MTX_PATHS_")?.rsplit_once('_').filter(|(_, key)| key.starts_with("RECORD"))?.0;
            (!known.contains(path)).then(|| path.to_lowercase())
        });
        paths.extend(named.collect::<BTreeSet<_>>());
        paths
    }

    /// What it says about recordings.
    pub fn recordings(&self) -> Recordings {
        let mut found = Recordings::default();
        self.directory(&mut found, None);
        for path in self.paths() {
            self.directory(&mut found, Some(&path));
        }
        if found.directories.iter().any(|directory| directory.is_on) {
            found.directories.retain(|directory| directory.is_on);
        } else {
            found.note("record", "off for every path: MediaMTX records nothing now");
        }
        if self.has_playback() {
            found.note("playback", "on: fragmented MP4 is kept as it is (`fragmented = \"auto\"`)");
        }
        found
    }

    fn directory(&self, found: &mut Recordings, path: Option<&str>) {
        let is_on = self.of_path(path, "record").and_then(flag).unwrap_or(false);
        let of = path.map_or_else(|| "pathDefaults".to_owned(), |path| format!("path `{path}`"));
        let record_path = self.of_path(path, "recordPath").filter(|path| !path.is_empty());
        let extension = match self.of_path(path, "recordFormat") {
            Some("mpegts") => ".ts",
            _ => ".mp4",
        };
        let whole = pattern(record_path.unwrap_or(DEFAULT_RECORD_PATH), extension);
        let (directory, names) = whole.split();
        let directory = self.started.resolve(&directory.to_string_lossy());
        found.directory(directory, of, Some(names), is_on);
        if is_on {
            self.notes(found, path);
        }
    }

    /// What is to be known of a path that is recorded; what it inherits is said once.
    fn notes(&self, found: &mut Recordings, path: Option<&str>) {
        let setting = |key: &str| {
            let own = path.and_then(|path| Some((path, self.value(&["paths", path], key)?)));
            match own {
                Some((path, value)) => (format!("{key} of path `{path}`"), Some(value)),
                None => (key.to_owned(), self.of_path(None, key)),
            }
        };
        match setting("recordDeleteAfter") {
            (_, Some(value)) if is_zero(value) => {}
            (name, Some(value)) => {
                found.note(name, format!("`{value}`: MediaMTX deletes by the time in the name, {DECIDE}"));
            }
            (name, None) => found.note(name, format!("not set: MediaMTX deletes recordings after 1 day, {DECIDE}")),
        }
        for hook in ["runOnRecordSegmentComplete", "runOnRecordSegmentCreate"] {
            let (name, command) = setting(hook);
            if command.is_some_and(|command| !command.is_empty()) {
                found.note(name, "MediaMTX still runs it; for finished files use [[announce.command]]");
            }
        }
    }
}

fn is_zero(duration: &str) -> bool {
    !duration.is_empty() && duration.trim_matches(|c: char| c.is_ascii_alphabetic()).chars().all(|c| "0. ".contains(c))
}

/// A `recordPath`; the extension is added by MediaMTX.
fn pattern(path: &str, extension: &str) -> Pattern {
    let mut pattern = Pattern::default();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        pattern.push_text(&rest[..at]);
        rest = &rest[at..];
        let known = VARIABLES.iter().find(|(name, _)| rest.starts_with(name));
        if let Some((name, piece)) = known {
            pattern.push(piece.clone());
            rest = &rest[name.len()..];
        } else {
            pattern.push_text("%");
            rest = &rest[1..];
        }
    }
    pattern.push_text(rest);
    pattern.push_text(extension);
    pattern
}

const VARIABLES: [(&str, Piece); 10] = [
    ("%path", Piece::Stream),
    ("%Y", Piece::Start(Time::Year)),
    ("%m", Piece::Start(Time::Month)),
    ("%d", Piece::Start(Time::Day)),
    ("%H", Piece::Start(Time::Hour)),
    ("%M", Piece::Start(Time::Minute)),
    ("%S", Piece::Start(Time::Second)),
    ("%f", Piece::Start(Time::Fraction(6))),
    ("%s", Piece::Start(Time::Epoch)),
    ("%z", Piece::Start(Time::Offset)),
];

/// Reads a file and says what it says about recordings.
pub fn read(path: &Path, files: &ServerFiles, started: &Started) -> Result<Recordings, IngestError> {
    Ok(Configuration::parse(&files.read(path)?, path, started)?.recordings())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(environment: &[(&str, &str)]) -> Started {
        Started {
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            working_directory: Some("/srv/mtx".into()),
            ..Started::default()
        }
    }

    fn recordings(text: &str, environment: &[(&str, &str)]) -> Recordings {
        let started = started(environment);
        Configuration::parse(text, Path::new("mediamtx.yml"), &started).unwrap().recordings()
    }

    fn directories(found: &Recordings) -> Vec<(&str, Vec<&str>, bool)> {
        found
            .directories
            .iter()
            .map(|d| (d.path.to_str().unwrap(), d.of.iter().map(String::as_str).collect(), d.is_on))
            .collect()
    }

    const SAMPLE: &str = "\
logLevel: info
playback: yes
pathDefaults:
  source: publisher
  record: no
  recordPath: /rec/%path/%Y-%m-%d_%H-%M-%S-%f
  recordFormat: fmp4
  recordDeleteAfter: 1d
paths:
  cam1:
    source: rtsp://admin:hunter2@10.0.0.2/stream
    record: yes
  cam2:
    record: yes
    recordPath: ./other/%path_%s
    recordFormat: mpegts
    recordDeleteAfter: 0s
  quiet:
  all_others:
";

    #[test]
    fn each_path_records_where_it_says_or_inherits() {
        let found = recordings(SAMPLE, &[]);
        assert_eq!(
            directories(&found),
            [("/rec", vec!["path `cam1`"], true), ("/srv/mtx/other", vec!["path `cam2`"], true)]
        );
        let names = |n: usize| found.directories[n].names.as_ref().unwrap().example();
        assert_eq!(names(0), "room1/2026-03-04_14-30-15-123456.mp4");
        assert_eq!(names(1), "room1_1772634615.ts");
        assert!(found.notes.iter().all(|note| !note.why.contains("hunter2")));
        assert_eq!(
            found.notes.iter().map(|n| n.setting.as_str()).collect::<Vec<_>>(),
            ["recordDeleteAfter", "playback"]
        );
    }

    #[test]
    fn the_environment_overrules_the_file() {
        let on =
            recordings(SAMPLE, &[("MTX_PATHDEFAULTS_RECORD", "yes"), ("MTX_PATHDEFAULTS_RECORDPATH", "/env/%path/%s")]);
        assert_eq!(on.directories[0].path, Path::new("/env"));
        assert_eq!(on.directories[0].of, ["pathDefaults", "path `cam1`", "path `quiet`", "path `all_others`"]);
        assert!(on.notes.iter().any(|note| note.setting == "recordDeleteAfter" && note.why.contains("`1d`")));
        let off = recordings(SAMPLE, &[("MTX_PATHS_CAM1_RECORD", "no"), ("MTX_PATHS_CAM2_RECORD", "false")]);
        assert!(off.directories.iter().all(|directory| !directory.is_on));
        assert!(off.notes.iter().any(|note| note.setting == "record"));
        let only_there =
            recordings("", &[("MTX_PATHS_CAM9_RECORD", "yes"), ("MTX_PATHS_CAM9_RECORDPATH", "/nine/%path-%s")]);
        assert_eq!(directories(&only_there), [("/nine", vec!["path `cam9`"], true)]);
    }

    #[test]
    fn older_releases_set_it_at_the_top_level_and_the_default_is_its_own() {
        let found = recordings("record: yes\n", &[]);
        assert_eq!(directories(&found), [("/srv/mtx/recordings", vec!["pathDefaults"], true)]);
        assert!(found.notes[0].why.contains("1 day"), "{:?}", found.notes);
        let off = recordings("# all at the defaults\n", &[]);
        assert_eq!(directories(&off), [("/srv/mtx/recordings", vec!["pathDefaults"], false)]);
    }

    #[test]
    fn playback_is_on_unless_it_is_plainly_off() {
        let has = |text: &str, environment: &[(&str, &str)]| {
            let started = started(environment);
            Configuration::parse(text, Path::new("x"), &started).unwrap().has_playback()
        };
        assert!(has("playback: yes", &[]) && has("playback: maybe", &[]) && has("", &[("MTX_PLAYBACK", "true")]));
        assert!(!has("playback: no", &[]) && !has("", &[]) && !has("playback: yes", &[("RTSP_PLAYBACK", "no")]));
        assert!(Configuration::parse("c2VjcmV0", Path::new("x"), &started(&[])).is_err());
    }

    #[test]
    fn its_file_is_the_argument_or_the_first_of_its_places() {
        let mut started = started(&[]);
        assert_eq!(places(&started)[1], Path::new("/srv/mtx/mediamtx.yml"));
        started.arguments = vec!["--flag".into(), "conf/mine.yml".into()];
        assert_eq!(places(&started), [PathBuf::from("/srv/mtx/conf/mine.yml")]);
    }
}
