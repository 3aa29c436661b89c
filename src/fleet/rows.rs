//! Records and events as rows of the database. Pure.
//!
//! Text in PostgreSQL cannot hold NUL; a name from outside may. It becomes U+FFFD there; the local record keeps it.

use serde::Serialize;
use serde_json::Value;

use crate::catalog::LoggedEvent;
use crate::recording::VodRecord;

/// A row of `aftercast.vod`, but for its node.
#[derive(Debug, Serialize)]
pub(super) struct VodRow {
    vod_id: String,
    rev: u64,
    stream_id: String,
    vod_name: String,
    root: String,
    rel_path: String,
    start_ms: i64,
    created_ms: i64,
    duration_ms: i64,
    size_bytes: u64,
    outcome: &'static str,
    is_local: bool,
    is_delivered: bool,
    is_defective: bool,
    search: String,
}

/// The columns of [`VodRow`] with their types.
pub(super) const VOD_COLUMNS: &str = "vod_id text, rev bigint, stream_id text, vod_name text, root text, rel_path text, \
    start_ms bigint, created_ms bigint, duration_ms bigint, size_bytes bigint, outcome text, is_local boolean, \
    is_delivered boolean, is_defective boolean, search text, record jsonb";
/// Their names.
pub(super) const VOD_NAMES: &str = "vod_id, rev, stream_id, vod_name, root, rel_path, start_ms, created_ms, duration_ms, \
    size_bytes, outcome, is_local, is_delivered, is_defective, search, record";

impl VodRow {
    /// The row as JSON, with the record in it as it is.
    pub fn json_of(vod: &VodRecord, revision: u64) -> Result<String, serde_json::Error> {
        let (mut row, record) = (serde_json::to_string(&Self::of(vod, revision))?, serde_json::to_string(vod)?);
        // As JSON; this may also be a backslash before `u0000`, which is then looked at once more.
        let record = if record.contains("\\u0000") { without_nul(&record)? } else { record };
        row.truncate(row.len() - 1);
        row.push_str(",\"record\":");
        row.push_str(&record);
        row.push('}');
        Ok(row)
    }

    fn of(vod: &VodRecord, revision: u64) -> Self {
        Self {
            vod_id: text(&vod.vod_id),
            rev: revision,
            stream_id: text(&vod.stream_id),
            vod_name: text(&vod.vod_name),
            root: text(&vod.root.to_string_lossy()),
            rel_path: text(&vod.relative_path().to_string_lossy()),
            start_ms: vod.start_time,
            created_ms: vod.creation_date,
            duration_ms: vod.duration,
            size_bytes: vod.file_size,
            outcome: vod.outcome.name(),
            is_local: vod.freed_at.is_none(),
            is_delivered: !vod.remote.is_empty(),
            is_defective: !vod.defects.is_empty(),
            search: search_text(vod),
        }
    }
}

/// What a search for text looks at, in small letters, a line each.
fn search_text(vod: &VodRecord) -> String {
    let own = [&vod.vod_id, &vod.vod_name, &vod.stream_id, &vod.stream_name].into_iter();
    let notes = vod.description.iter().chain(vod.metadata.values());
    let lines: Vec<_> = own.chain(notes).map(|line| text(line).to_lowercase()).collect();
    lines.join("\n")
}

/// A row of `aftercast.event`, but for its node.
#[derive(Debug, Serialize)]
pub(super) struct EventRow {
    seq: u64,
    at_ms: i64,
    #[serde(rename = "type")]
    event_type: String,
    vod_id: Option<String>,
    body: Value,
}

/// The columns of [`EventRow`] with their types.
pub(super) const EVENT_COLUMNS: &str = "seq bigint, at_ms bigint, type text, vod_id text, body jsonb";

impl EventRow {
    pub fn of(logged: &LoggedEvent) -> Result<Self, serde_json::Error> {
        let mut body = serde_json::to_value(&logged.event)?;
        replace_nul(&mut body);
        let event_type = body.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let vod_id = logged.event.vod_id().map(text);
        Ok(Self { seq: logged.sequence, at_ms: logged.at_ms, event_type, vod_id, body })
    }
}

fn without_nul(json: &str) -> Result<String, serde_json::Error> {
    let mut value = serde_json::from_str(json)?;
    replace_nul(&mut value);
    serde_json::to_string(&value)
}

/// A text without NUL.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Replaces NUL in JSON.
pub(super) fn replace_nul(value: &mut Value) {
    match value {
        Value::String(string) if string.contains('\0') => *string = text(string),
        Value::Array(values) => values.iter_mut().for_each(replace_nul),
        Value::Object(fields) => {
            if fields.keys().any(|name| name.contains('\0')) {
                *fields = std::mem::take(fields).into_iter().map(|(name, value)| (text(&name), value)).collect();
            }
            fields.values_mut().for_each(replace_nul);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_replaced_wherever_it_is() {
        let mut value = json!({ "a": ["x\0y", { "k\0": "\0" }], "n": 7 });
        replace_nul(&mut value);
        assert_eq!(value, json!({ "a": ["x\u{fffd}y", { "k\u{fffd}": "\u{fffd}" }], "n": 7 }));
        let json = json!({ "a": "\0", "b": "a backslash \\u0000" }).to_string();
        let without: Value = serde_json::from_str(&without_nul(&json).unwrap()).unwrap();
        assert_eq!(without, json!({ "a": "\u{fffd}", "b": "a backslash \\u0000" }));
    }
}
