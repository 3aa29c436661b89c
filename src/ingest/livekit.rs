//! LiveKit egress: its YAML says where it uploads. Where a file is written locally, a request says; requests that are kept in the
//! YAML (`file_outputs`) are read, too.

use std::path::{Path, PathBuf};

use super::error::IngestError;
use super::pattern::{Pattern, Piece, Time};
use super::yaml::{self, Node};
use super::{Recordings, ServerFiles, Started, StoreUpload, flag};

/// Where egress keeps a file while it records; its container empties it at the start.
const TEMPORARY: &str = "/home/egress/tmp";

/// Where the configuration of a process may be, the first that exists counts.
pub fn places(started: &Started) -> Vec<PathBuf> {
    let named = started.option(&["--config", "-config"]).or_else(|| started.variable("EGRESS_CONFIG_FILE"));
    named.map_or_else(installed, |path| vec![started.resolve(path)])
}

/// Where it is usually put.
pub fn installed() -> Vec<PathBuf> {
    ["/etc/livekit/egress.yaml", "/etc/egress.yaml", "/etc/livekit-egress/config.yaml"].map(PathBuf::from).to_vec()
}

/// The configuration that the environment holds as a whole.
pub fn body(started: &Started) -> Option<&str> {
    started.variable("EGRESS_CONFIG_BODY")
}

/// Reads a file and says what it says about recordings.
pub fn read(path: &Path, files: &ServerFiles, started: &Started) -> Result<Recordings, IngestError> {
    of_text(&files.read(path)?, path, started)
}

/// Says what the text of a configuration says about recordings.
pub fn of_text(text: &str, path: &Path, started: &Started) -> Result<Recordings, IngestError> {
    let node = yaml::parse(text, path)?;
    if !matches!(node, Node::Map(_) | Node::Nothing) {
        return Err(IngestError::syntax(path, 1, "not a map of settings"));
    }
    let mut found = Recordings::default();
    // Newer releases have the stores below `storage`, older ones at the top.
    let storage = node.get("storage").unwrap_or(&node);
    let prefix = storage.text("prefix").unwrap_or_default();
    uploads(&mut found, storage, prefix);
    outputs(&mut found, &node, started);
    if let Some(path) = node.text("backup_storage").filter(|path| !path.is_empty()) {
        found.directory(started.resolve(path), "backup_storage (after a failed upload)".into(), None, true);
    }
    notes(&mut found, &node, prefix);
    Ok(found)
}

fn uploads(found: &mut Recordings, storage: &Node, prefix: &str) {
    let add = |found: &mut Recordings, upload: Option<StoreUpload>| found.uploads.extend(upload);
    let url = |scheme: &str, bucket: &str| format!("{scheme}://{bucket}/{prefix}").trim_end_matches('/').to_owned();
    for section in ["s3", "alioss"] {
        let upload = storage.get(section).and_then(|node| s3(section, node, prefix));
        add(found, upload);
    }
    add(
        found,
        storage.get("azure").and_then(|node| {
            let credentials = present(node, &["account_name", "account_key"]);
            let url = url("az", node.text("container_name")?);
            Some(StoreUpload { section: "azure".into(), url, credentials, ..StoreUpload::default() })
        }),
    );
    add(
        found,
        storage.get("gcp").and_then(|node| {
            let credentials = present(node, &["credentials_json"]);
            let url = url("gs", node.text("bucket")?);
            Some(StoreUpload { section: "gcp".into(), url, credentials, ..StoreUpload::default() })
        }),
    );
}

fn s3(section: &str, node: &Node, prefix: &str) -> Option<StoreUpload> {
    let bucket = node.text("bucket")?;
    let text = |key: &str| node.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let metadata = node.get("metadata").map(Node::entries).unwrap_or_default();
    let metadata = metadata.iter().filter_map(|(key, value)| match value {
        Node::Text(text) => Some((key.clone(), text.clone())),
        _ => None,
    });
    let tags = node.text("tagging").unwrap_or_default().split('&').filter_map(|tag| tag.split_once('='));
    Some(StoreUpload {
        section: section.to_owned(),
        url: format!("s3://{bucket}/{prefix}").trim_end_matches('/').to_owned(),
        endpoint: text("endpoint"),
        region: text("region"),
        path_style: if section == "alioss" { Some(false) } else { node.text("force_path_style").and_then(flag) },
        metadata: metadata.collect(),
        tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        credentials: present(node, &["access_key", "secret", "session_token"]),
    })
}

/// Those settings that have a value.
fn present(node: &Node, keys: &[&str]) -> Vec<String> {
    keys.iter().filter(|key| node.text(key).is_some_and(|text| !text.is_empty())).map(|key| (*key).to_owned()).collect()
}

/// Every `file_outputs` (or `file`) in it, wherever it stands.
fn outputs(found: &mut Recordings, node: &Node, started: &Started) {
    for (key, value) in node.entries() {
        let listed = match key.as_str() {
            "file_outputs" | "fileOutputs" => value.items(),
            "file" => std::slice::from_ref(value),
            _ => &[],
        };
        for output in listed {
            output_of(found, key, output, started);
        }
        outputs(found, value, started);
    }
    node.items().iter().for_each(|item| outputs(found, item, started));
}

fn output_of(found: &mut Recordings, key: &str, output: &Node, started: &Started) {
    let Some(path) = output.text("filepath") else { return };
    let stores = ["s3", "azure", "gcp", "alioss", "aliOSS"];
    if stores.iter().any(|store| output.get(store).is_some()) || !path.starts_with('/') {
        let why = "its file goes to a store, never to a local directory; give it an absolute `filepath` and no store";
        return found.note(format!("{key}.filepath"), why);
    }
    let whole = if path.ends_with('/') { format!("{path}{{room_name}}-{{time}}") } else { path.to_owned() };
    let has_extension = whole.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let (directory, names) = pattern(&if has_extension { whole } else { whole + ".mp4" }).split();
    found.directory(started.resolve(&directory.to_string_lossy()), key.to_owned(), Some(names), true);
}

const VARIABLES: [(&str, Piece); 8] = [
    ("{room_name}", Piece::Stream),
    ("{room_id}", Piece::Any("RM_x")),
    ("{publisher_identity}", Piece::Any("alice")),
    ("{track_id}", Piece::Any("TR_x")),
    ("{track_type}", Piece::Any("audio")),
    ("{track_source}", Piece::Any("microphone")),
    ("{time}", Piece::Any("")),
    ("{utc}", Piece::Any("")),
];

fn pattern(path: &str) -> Pattern {
    let mut pattern = Pattern::default();
    let mut rest = path;
    while let Some(at) = rest.find('{') {
        pattern.push_text(&rest[..at]);
        rest = &rest[at..];
        match VARIABLES.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name @ "{time}", _)) => {
                // 2006-01-02T150405
                push_date(&mut pattern, "-", "T");
                rest = &rest[name.len()..];
            }
            Some((name @ "{utc}", _)) => {
                // 20060102150405789
                push_date(&mut pattern, "", "");
                pattern.push(Piece::Start(Time::Fraction(3)));
                rest = &rest[name.len()..];
            }
            Some((name, piece)) => {
                pattern.push(piece.clone());
                rest = &rest[name.len()..];
            }
            None => {
                pattern.push_text("{");
                rest = &rest[1..];
            }
        }
    }
    pattern.push_text(rest);
    pattern
}

fn push_date(pattern: &mut Pattern, between: &str, before_time: &str) {
    let parts = [
        (Time::Year, between),
        (Time::Month, between),
        (Time::Day, before_time),
        (Time::Hour, ""),
        (Time::Minute, ""),
        (Time::Second, ""),
    ];
    for (time, behind) in parts {
        pattern.push(Piece::Start(time));
        pattern.push_text(behind);
    }
}

fn notes(found: &mut Recordings, node: &Node, prefix: &str) {
    for upload in found.uploads.clone() {
        let why = "egress uploads there itself, and the file never appears in a local directory; to let aftercast deliver, \
                   remove this section there and record to a local directory";
        found.note(upload.section.clone(), why);
        if upload.section == "alioss" {
            found.note("alioss", "Alibaba's store is reached by its S3-compatible endpoint: check `endpoint`");
        }
    }
    if !prefix.is_empty() {
        found.note("prefix", "it is part of the target's URL");
    }
    if node.get("backup").is_some() {
        found.note("backup", "egress still uses it after a failed upload; aftercast retries by itself");
    }
    for key in ["local_directory", "local_output_directory"] {
        if node.text(key).is_some_and(|path| !path.is_empty()) {
            found.note(key, "files lie there only until egress has uploaded them; it is not a root");
        }
    }
    let has_local = found.directories.iter().any(|directory| directory.names.is_some());
    if !has_local {
        let why = format!(
            "each request names its own: set `roots` to the directory that requests write to (such as /out); {TEMPORARY} is \
             emptied by egress and must not be a root"
        );
        found.note("filepath", why);
    }
    if node.get("session_limits").is_some_and(|limits| !limits.entries().is_empty()) {
        found.note("session_limits", "egress still ends recordings at them");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recordings(text: &str) -> Result<Recordings, IngestError> {
        of_text(text, Path::new("egress.yaml"), &Started::default())
    }

    const SAMPLE: &str = "\
api_key: APIkey
api_secret: hunter2
ws_url: wss://live.example.com
redis:
  address: 127.0.0.1:6379
  password: hunter2
backup_storage: /backup
s3:
  access_key: AKIAHUNTER2
  secret: hunter2
  region: eu-central-1
  endpoint: https://minio.example:9000
  bucket: recordings
  force_path_style: true
  metadata: { team: news }
  tagging: retention=1y&team=news
";

    #[test]
    fn the_store_becomes_an_upload_without_its_credentials() {
        let found = recordings(SAMPLE).unwrap();
        let upload = &found.uploads[0];
        assert_eq!((upload.section.as_str(), upload.url.as_str()), ("s3", "s3://recordings"));
        assert_eq!((upload.region.as_deref(), upload.path_style), (Some("eu-central-1"), Some(true)));
        assert_eq!(upload.endpoint.as_deref(), Some("https://minio.example:9000"));
        assert_eq!(upload.metadata, [("team".to_owned(), "news".to_owned())]);
        assert_eq!(upload.tags[0], ("retention".to_owned(), "1y".to_owned()));
        assert_eq!(upload.credentials, ["access_key", "secret"]);
        assert_eq!(found.directories[0].path, Path::new("/backup"));
        let said = format!("{found:?}").to_lowercase();
        assert!(!said.contains("hunter2") && said.contains("remove this section"), "{said}");
    }

    #[test]
    fn newer_releases_have_it_below_storage_with_a_prefix() {
        let found = recordings("storage:\n  prefix: live\n  azure:\n    account_name: a\n    account_key: hunter2\n    container_name: c\n").unwrap();
        assert_eq!((found.uploads[0].url.as_str(), found.uploads[0].credentials.len()), ("az://c/live", 2));
        let google = recordings("gcp: { bucket: b, credentials_json: '{\"private_key\": \"hunter2\"}' }").unwrap();
        assert_eq!(google.uploads[0].url, "gs://b");
        let alibaba =
            recordings("alioss: { bucket: b, endpoint: https://oss-cn.example, access_key: x, secret: y }").unwrap();
        assert_eq!((alibaba.uploads[0].url.as_str(), alibaba.uploads[0].path_style), ("s3://b", Some(false)));
    }

    #[test]
    fn local_outputs_of_kept_requests_are_directories() {
        let text = "room_composite:\n  room_name: x\n  file_outputs:\n    - filepath: /out/{room_name}-{time}.mp4\n    \
                    - filepath: /out/tracks/\n    - filepath: keys/{utc}.mp4\n";
        let found = recordings(text).unwrap();
        let rows: Vec<_> =
            found.directories.iter().map(|d| (d.path.to_str().unwrap(), d.names.as_ref().unwrap().example())).collect();
        assert_eq!(
            rows,
            [
                ("/out", "room1-2026-03-04T143015.mp4".to_owned()),
                ("/out/tracks", "room1-2026-03-04T143015.mp4".to_owned())
            ]
        );
        assert!(found.notes.iter().any(|note| note.why.contains("absolute `filepath`")), "{:?}", found.notes);
    }

    #[test]
    fn nothing_local_is_said_and_a_slip_has_its_line() {
        let found = recordings("ws_url: wss://x\n").unwrap();
        assert!(found.directories.is_empty() && found.notes[0].why.contains("/out"), "{:?}", found.notes);
        assert!(recordings("a: 1\nb: [\n").unwrap_err().to_string().contains("egress.yaml`, line"), "line");
        assert!(recordings("- a\n").is_err());
    }

    #[test]
    fn its_file_is_named_by_option_or_environment() {
        let mut started = Started { working_directory: Some("/w".into()), ..Started::default() };
        assert_eq!(places(&started), installed());
        started.environment.insert("EGRESS_CONFIG_FILE".into(), "/out/config.yaml".into());
        assert_eq!(places(&started), [PathBuf::from("/out/config.yaml")]);
        started.arguments = vec!["--config".into(), "mine.yaml".into()];
        assert_eq!(places(&started), [PathBuf::from("/w/mine.yaml")]);
    }
}
