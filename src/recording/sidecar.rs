//! The sidecar of a VoD: `x.json` beside `x.mp4`, with what the catalogue knows of it, for whoever finds the two without a catalogue.
//!
//! It is the record as the API gives it, without what holds for one disk only: paths are relative to the root, and those outside it, numbers of
//! devices and inodes, and copies in stores are left out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::VodRecord;

/// Longest sidecar that is read, bytes; those of ours are shorter.
pub const SIDECAR_MAX_BYTES: u64 = 4 << 20;
/// The first key: the version of the form. A file without it is somebody else's.
const VERSION: &str = "aftercastSidecar";
const FORM: u64 = 1;
/// What holds for one disk, or changes behind the sidecar's back.
const LEFT_OUT: [&str; 9] =
    ["version", "root", "source", "sourceChangedNs", "fingerprint", "spliceUndo", "remote", "freedAt", "evidence"];
/// What people wrote: it is no path, whatever it looks like.
const WRITTEN: [&str; 2] = ["description", "metadata"];

/// What people wrote about a VoD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Noted {
    /// The description.
    pub description: Option<String>,
    /// Names and values.
    pub metadata: BTreeMap<String, String>,
}

impl Noted {
    /// Longest description, characters.
    pub const LONGEST_DESCRIPTION: usize = 10_000;
    /// Names a VoD may have values for.
    pub const MOST_NAMES: usize = 100;
    /// Longest name or value, characters.
    pub const LONGEST_VALUE: usize = 1_000;
}

/// The text of a VoD's sidecar.
///
/// # Errors
/// If a path is not UTF-8.
pub fn sidecar_of(vod: &VodRecord) -> Result<Vec<u8>, serde_json::Error> {
    let Value::Object(record) = serde_json::to_value(vod)? else { return Ok(Vec::new()) };
    let mut sidecar = Map::new();
    sidecar.insert(VERSION.to_owned(), FORM.into());
    for (name, value) in record.into_iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
        let value = if WRITTEN.contains(&name.as_str()) { Some(value) } else { without_paths(value, &vod.root) };
        sidecar.extend(value.map(|value| (name, value)));
    }
    let mut text = serde_json::to_vec_pretty(&sidecar)?;
    text.push(b'\n');
    Ok(text)
}

/// A value with its absolute paths relative to the root; those outside it are left out.
fn without_paths(value: Value, root: &Path) -> Option<Value> {
    match value {
        Value::String(text) if text.starts_with('/') => {
            let inside = Path::new(&text).strip_prefix(root).ok()?;
            Some(Value::String(inside.to_str()?.to_owned()))
        }
        Value::Array(items) => Some(items.into_iter().filter_map(|item| without_paths(item, root)).collect()),
        Value::Object(fields) => {
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name, without_paths(value, root)?)));
            Some(Value::Object(fields.collect()))
        }
        other => Some(other),
    }
}

/// Which VoD a sidecar of ours is of, and what people wrote about it; `None` for a file that is none of ours. What is longer than it may be
/// is left out.
pub fn read_sidecar(text: &[u8]) -> Option<(String, Noted)> {
    let sidecar: Value = serde_json::from_slice(text).ok()?;
    sidecar.get(VERSION)?.as_u64().filter(|form| *form == FORM)?;
    let vod_id = sidecar.get("vodId")?.as_str()?.to_owned();
    let fits = |text: &str, most| text.chars().count() <= most;
    let description = sidecar.get("description").and_then(Value::as_str);
    let description = description.filter(|text| fits(text, Noted::LONGEST_DESCRIPTION)).map(str::to_owned);
    let metadata = sidecar.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let texts = metadata.filter_map(|(name, value)| Some((name, value.as_str()?)));
    let fitting = texts.filter(|(name, value)| fits(name, Noted::LONGEST_VALUE) && fits(value, Noted::LONGEST_VALUE));
    let metadata = fitting.take(Noted::MOST_NAMES).map(|(name, value)| (name.clone(), value.to_owned())).collect();
    Some((vod_id, Noted { description, metadata }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(value: Value) -> Option<Value> {
        without_paths(value, Path::new("/srv/root"))
    }

    #[test]
    fn paths_are_relative_to_the_root_and_others_are_left_out() {
        let value = serde_json::json!({
            "filePath": "/srv/root/a/x.mp4", "previewFilePath": "/srv/previews/x.png", "vodName": "x.mp4",
            "tracks": [{ "codec": "h264" }, "/etc/passwd"], "duration": 7, "root": "/srv/rooted",
        });
        let expected = serde_json::json!({
            "filePath": "a/x.mp4", "vodName": "x.mp4", "tracks": [{ "codec": "h264" }], "duration": 7,
        });
        assert_eq!(kept(value), Some(expected));
    }

    #[test]
    fn files_of_others_are_no_sidecars_of_ours() {
        for text in
            ["", "{", "[]", "{\"vodId\":\"x\"}", "{\"aftercastSidecar\":2,\"vodId\":\"x\"}", "{\"aftercastSidecar\":1}"]
        {
            assert_eq!(read_sidecar(text.as_bytes()), None, "{text}");
        }
        let text = r#"{"aftercastSidecar":1,"vodId":"x","description":"/d","metadata":{"a":"b","n":7}}"#;
        let (vod_id, noted) = read_sidecar(text.as_bytes()).unwrap();
        assert_eq!((&vod_id[..], noted.description.as_deref()), ("x", Some("/d")));
        assert_eq!(noted.metadata, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    }
}
