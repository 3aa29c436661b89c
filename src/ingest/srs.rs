//! SRS: the `dvr` of every `vhost` in its configuration, and the variables `SRS_VHOST_DVR_…` that overrule all of them.

use std::path::{Path, PathBuf};

use super::directives::{self, Directive, named, value};
use super::error::IngestError;
use super::pattern::{Pattern, Piece, Time};
use super::{Recordings, ServerFiles, Started, flag};
use crate::printable::Printable;

const DEFAULT_PATH: &str = "./objs/nginx/html/[app]/[stream].[timestamp].flv";
const DEFAULT_DIRECTORIES: [&str; 3] = ["/usr/local/srs", "/opt/srs", "/etc/srs"];

/// Where the configuration of a process may be, the first that exists counts.
pub fn places(started: &Started) -> Vec<PathBuf> {
    match started.option(&["-c"]) {
        Some(file) => vec![started.resolve(file)],
        None => vec![started.resolve("conf/srs.conf"), started.resolve("conf/docker.conf")],
    }
}

/// Where packages and images install it.
pub fn installed() -> Vec<PathBuf> {
    DEFAULT_DIRECTORIES.iter().map(|directory| Path::new(directory).join("conf/srs.conf")).collect()
}

/// The working directory that a configuration file speaks for: SRS is started in the directory above `conf`.
pub fn working_directory_of(path: &Path) -> Option<PathBuf> {
    let conf = path.parent().filter(|directory| directory.ends_with("conf"))?;
    conf.parent().filter(|directory| directory.is_absolute()).map(Path::to_owned)
}

/// Reads a file and what it includes, and says what it says about recordings.
pub fn read(path: &Path, files: &ServerFiles, started: &Started) -> Result<Recordings, IngestError> {
    let base = started.working_directory.clone().unwrap_or_default();
    let directives = directives::read(path, &base, files)?;
    Ok(recordings(&directives, started))
}

/// What an SRS says that is configured by its environment alone (`srs -e`).
pub fn of_environment(started: &Started) -> Recordings {
    recordings(&[], started)
}

fn recordings(directives: &[Directive], started: &Started) -> Recordings {
    let mut found = Recordings::default();
    let mut hosts: Vec<(&str, &[Directive])> =
        named(directives, "vhost").map(|host| (host.value().unwrap_or_default(), host.block.as_slice())).collect();
    if hosts.is_empty() {
        hosts.push(("__defaultVhost__", &[]));
    }
    for (name, host) in hosts.into_iter().filter(|(_, host)| value(host, "enabled").and_then(flag) != Some(false)) {
        vhost(&mut found, name, host, started);
    }
    if found.directories.is_empty() {
        found.note("dvr", "off in every vhost: SRS records nothing now");
    }
    found
}

fn vhost(found: &mut Recordings, name: &str, host: &[Directive], started: &Started) {
    let dvr = named(host, "dvr").last().map(|dvr| dvr.block.as_slice()).unwrap_or_default();
    let setting = |key: &str| {
        let variable = format!("SRS_VHOST_DVR_{}", key.to_uppercase());
        started.variable(&variable).or_else(|| value(dvr, key))
    };
    if setting("enabled").and_then(flag) == Some(true) {
        let of = format!("vhost `{name}`");
        match setting("dvr_path").unwrap_or(DEFAULT_PATH) {
            path if path.starts_with('$') => found.note(
                format!("dvr_path of {of}"),
                "comes from an environment variable of SRS: set the directory of the recordings yourself",
            ),
            path => directory(found, path, of.clone(), started),
        }
        notes(found, &of, host, setting);
    }
    let hls = named(host, "hls").last().map(|hls| hls.block.as_slice()).unwrap_or_default();
    if value(hls, "enabled").and_then(flag) == Some(true) {
        let directory = started.resolve(value(hls, "hls_path").unwrap_or("./objs/nginx/html"));
        let text = format!(
            "HLS is written to `{}`; add it as a root of its own if it shall be uploaded",
            Printable::path(&directory)
        );
        found.note(format!("hls of vhost `{name}`"), text);
    }
}

fn directory(found: &mut Recordings, path: &str, of: String, started: &Started) {
    let has_file = [".flv", ".mp4"].iter().any(|end| path.ends_with(end));
    let whole =
        if has_file { path.to_owned() } else { format!("{}/[stream].[timestamp].flv", path.trim_end_matches('/')) };
    let (directory, names) = pattern(&whole).split();
    if !names.0.iter().any(|piece| matches!(piece, Piece::Start(_))) {
        let why = "its names have no time: SRS does not record a stream again while its file exists; add [timestamp]";
        found.note(format!("dvr_path of {of}"), why);
    }
    found.directory(started.resolve(&directory.to_string_lossy()), of, Some(names), true);
}

fn notes<'a>(found: &mut Recordings, of: &str, host: &[Directive], setting: impl Fn(&str) -> Option<&'a str>) {
    match setting("dvr_plan") {
        None | Some("session") => {}
        Some("segment") => {
            let seconds = setting("dvr_duration").unwrap_or("30");
            let text = format!("`segment`: each file of {seconds} s becomes a VoD; clips join them over HTTP");
            found.note(format!("dvr_plan of {of}"), text);
        }
        Some(plan) => {
            found.note(format!("dvr_plan of {of}"), format!("`{plan}` is not known here; files are read as they are"));
        }
    }
    if setting("dvr_apply").is_some_and(|streams| streams != "all") {
        found.note(format!("dvr_apply of {of}"), "SRS still decides which streams are recorded");
    }
    let hooks = named(host, "http_hooks").last().map(|hooks| hooks.block.as_slice()).unwrap_or_default();
    if value(hooks, "enabled").and_then(flag) == Some(true) && value(hooks, "on_dvr").is_some() {
        let why = "SRS still calls it with the name before aftercast finishes the file; for finished files use \
                   [[announce.webhook]]";
        found.note(format!("on_dvr of {of}"), why);
    }
}

/// SRS writes numbers of milliseconds without leading zeros in some releases; three digits are the usual case.
const VARIABLES: [(&str, Piece); 12] = [
    ("vhost", Piece::Any("__defaultVhost__")),
    ("app", Piece::Any("live")),
    ("stream", Piece::Stream),
    ("2006", Piece::Start(Time::Year)),
    ("01", Piece::Start(Time::Month)),
    ("02", Piece::Start(Time::Day)),
    ("15", Piece::Start(Time::Hour)),
    ("04", Piece::Start(Time::Minute)),
    ("05", Piece::Start(Time::Second)),
    ("999", Piece::Start(Time::Fraction(3))),
    ("timestamp", Piece::Start(Time::EpochMs)),
    ("duration", Piece::Any("600000")),
];

fn pattern(path: &str) -> Pattern {
    let mut pattern = Pattern::default();
    let mut rest = path;
    while let Some(at) = rest.find('[') {
        pattern.push_text(&rest[..at]);
        let known =
            VARIABLES.iter().find(|(name, _)| rest[at + 1..].strip_prefix(name).is_some_and(|r| r.starts_with(']')));
        if let Some((name, piece)) = known {
            pattern.push(piece.clone());
            rest = &rest[at + name.len() + 2..];
        } else {
            pattern.push_text("[");
            rest = &rest[at + 1..];
        }
    }
    pattern.push_text(rest);
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recordings_of(text: &str, environment: &[(&str, &str)]) -> Result<Recordings, IngestError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/local/srs/conf")).unwrap();
        std::fs::write(dir.path().join("usr/local/srs/conf/srs.conf"), text).unwrap();
        let path = Path::new("/usr/local/srs/conf/srs.conf");
        let started = Started {
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            working_directory: working_directory_of(path),
            ..Started::default()
        };
        read(path, &ServerFiles::below(dir.path()), &started)
    }

    const SAMPLE: &str = "\
listen              1935;
vhost __defaultVhost__ {
    http_hooks { enabled on; on_dvr http://127.0.0.1:8085/api/v1/dvrs?key=hunter2; }
    dvr {
        enabled      on;
        dvr_apply    all;
        dvr_path     ./objs/nginx/html/[app]/[stream]/[2006]/[01]/[02]/[15].[04].[05].[999].flv;
        dvr_plan     segment;
        dvr_duration 1800;
    }
}
vhost archive.example.com {
    dvr { enabled on; dvr_path /data/archive; }
}
vhost off.example.com { enabled off; dvr { enabled on; dvr_path /off; } }
vhost quiet.example.com { dvr { enabled off; dvr_path /quiet; } hls { enabled on; hls_path /hls; } }
";

    #[test]
    fn each_vhost_records_where_its_dvr_says() {
        let found = recordings_of(SAMPLE, &[]).unwrap();
        let paths: Vec<_> = found.directories.iter().map(|d| d.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/usr/local/srs/objs/nginx/html", "/data/archive"]);
        let names: Vec<_> = found.directories.iter().map(|d| d.names.as_ref().unwrap().example()).collect();
        assert_eq!(names, ["live/room1/2026/03/04/14.30.15.123.flv", "room1.1772634615123.flv"]);
        let said = format!("{:?}", found.notes);
        for word in ["dvr_plan of vhost `__defaultVhost__`", "1800 s", "on_dvr", "`/hls`"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn the_environment_overrules_every_vhost() {
        let found = recordings_of(
            "listen 1935; vhost __defaultVhost__ { }",
            &[("SRS_VHOST_DVR_ENABLED", "on"), ("SRS_VHOST_DVR_DVR_PATH", "/rec/[app]/[stream].flv")],
        )
        .unwrap();
        assert_eq!(found.directories[0].path, Path::new("/rec"));
        assert!(found.notes[0].why.contains("add [timestamp]"), "{:?}", found.notes);
        let alone = Started {
            environment: [("SRS_VHOST_DVR_ENABLED".to_owned(), "on".to_owned())].into(),
            working_directory: Some("/opt/srs".into()),
            ..Started::default()
        };
        assert_eq!(of_environment(&alone).directories[0].path, Path::new("/opt/srs/objs/nginx/html"));
        assert!(
            recordings_of("vhost a { dvr { enabled on; } }", &[("SRS_VHOST_DVR_ENABLED", "off")])
                .unwrap()
                .directories
                .is_empty()
        );
    }

    #[test]
    fn a_path_that_cannot_be_known_is_named_and_a_slip_has_its_line() {
        let found = recordings_of("vhost a { dvr { enabled on; dvr_path $DVR; } }", &[]).unwrap();
        assert!(found.notes[0].setting.contains("dvr_path"), "{:?}", found.notes);
        let error = recordings_of("vhost a {\n  dvr {\n    enabled on\n  }\n}\n", &[]).unwrap_err();
        assert!(error.to_string().contains("srs.conf`, line 4"), "{error}");
    }
}
