//! An event as an endpoint gets it.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde_json::{Map, Value, json};

use super::options::{BodyFormat, WebhookOptions};
use crate::catalog::LoggedEvent;
use crate::recording::{Event, VodFacts};

/// The id of an event for one endpoint: the same whenever it is sent again. Sequence numbers begin anew in a new catalogue, so the
/// time is in it, too.
pub(super) fn id_of(consumer: &str, logged: &LoggedEvent) -> String {
    let name = format!("{consumer}\0{}\0{}", logged.sequence, logged.at_ms);
    format!("msg_{}", &blake3::hash(name.as_bytes()).to_hex()[..24])
}

/// The event as JSON.
pub(super) fn json_of(logged: &LoggedEvent) -> Vec<u8> {
    serde_json::to_vec(logged).unwrap_or_default()
}

/// What people wrote about a VoD, by name.
pub(super) type Metadata = BTreeMap<String, String>;

/// Content type and body of a request. `metadata` is that of the event's VoD, which only `vodReady` has.
pub(super) fn body_of(webhook: &WebhookOptions, logged: &LoggedEvent, metadata: &Metadata) -> (&'static str, Vec<u8>) {
    match webhook.format {
        BodyFormat::Json => ("application/json", json_of(logged)),
        BodyFormat::Form => ("application/x-www-form-urlencoded", form_of(logged).into_bytes()),
        BodyFormat::AntMedia => {
            let ready = logged.event.vod().map(|vod| {
                let ready = vod_ready(vod, metadata, logged.at_ms);
                if webhook.extra_keys { with_extra_keys(ready, &logged.event, vod) } else { ready }
            });
            ("application/json", ready.map_or_else(|| json_of(logged), |ready| ready.to_string().into_bytes()))
        }
    }
}

/// Ant Media's `vodReady`, in the order of its keys: the name has no extension, numbers are strings, and metadata is an object that is
/// left out if it is empty.
fn vod_ready(vod: &VodFacts, metadata: &Metadata, at_ms: i64) -> Value {
    let mut ready = json!({
        "id": vod.stream_id,
        "action": "vodReady",
        "vodName": vod.path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default(),
        "vodId": vod.vod_id,
        "app": app_of(&vod.path),
        "duration": vod.duration_ms.to_string(),
    });
    if !metadata.is_empty() {
        ready["metadata"] = json!(metadata);
    }
    ready["timestamp"] = at_ms.to_string().into();
    ready
}

/// The same with keys that Ant Media does not send.
fn with_extra_keys(mut ready: Value, event: &Event, vod: &VodFacts) -> Value {
    ready["streamId"] = vod.stream_id.clone().into();
    ready["vodSize"] = vod.size_bytes.into();
    if let Some(object) = event.object() {
        ready["url"] = object.url.clone().into();
    }
    ready
}

/// The application: the directory that holds `streams`; elsewhere the one that holds the file.
fn app_of(path: &Path) -> String {
    let names: Vec<_> = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let streams = names.iter().position(|name| name.as_os_str() == "streams").filter(|at| *at > 0);
    let app = streams.map_or_else(|| names.len().checked_sub(2), |at| at.checked_sub(1)).map(|at| names[at]);
    app.map(|app| app.as_os_str().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The event as a form: inner names joined by dots, lists by their index.
fn form_of(logged: &LoggedEvent) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    let fields = serde_json::to_value(logged).unwrap_or_default();
    let mut add = |name: &str, value: &str| {
        form.append_pair(name, value);
    };
    if let Value::Object(fields) = &fields {
        flatten("", fields, &mut add);
    }
    form.finish()
}

fn flatten(prefix: &str, fields: &Map<String, Value>, add: &mut dyn FnMut(&str, &str)) {
    for (name, value) in fields {
        flatten_value(&format!("{prefix}{name}"), value, add);
    }
}

fn flatten_value(name: &str, value: &Value, add: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::Null => {}
        Value::Object(inner) => flatten(&format!("{name}."), inner, add),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| flatten_value(&format!("{name}.{n}"), item, add));
        }
        Value::String(text) => add(name, text),
        other => add(name, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::ObjectFacts;

    fn vod(path: &str) -> VodFacts {
        VodFacts {
            vod_id: "xAHS4T5Rzfs9P6pzf7IChQXH".into(),
            stream_id: "stream1".into(),
            path: path.into(),
            size_bytes: 1_234,
            duration_ms: 61_234,
            start_ms: 1,
        }
    }

    fn available(path: &str) -> LoggedEvent {
        let (target, key, url) = ("store".into(), "a/b.mp4".into(), "s3://bucket/a/b.mp4".into());
        let object = ObjectFacts { target, key, url, size_bytes: 1_234, checksum: None };
        let event = Event::Available { vod: vod(path), codecs: vec!["h264".into(), "aac".into()], object };
        LoggedEvent { sequence: 7, at_ms: 1_725_578_684_839, event }
    }

    fn ready(path: &str, extra_keys: bool) -> Value {
        let mut webhook = WebhookOptions::new("a", "http://localhost");
        (webhook.format, webhook.extra_keys) = (BodyFormat::AntMedia, extra_keys);
        serde_json::from_slice(&body_of(&webhook, &available(path), &Metadata::new()).1).unwrap()
    }

    #[test]
    fn vod_ready_has_ant_medias_keys_in_its_order_and_no_other() {
        let path = "/usr/local/antmedia/webapps/live/streams/sub/stream1_480p500kbps.mp4";
        assert_eq!(
            ready(path, false).to_string(),
            r#"{"id":"stream1","action":"vodReady","vodName":"stream1_480p500kbps","vodId":"xAHS4T5Rzfs9P6pzf7IChQXH","app":"live","duration":"61234","timestamp":"1725578684839"}"#
        );
        let extra = ready(path, true);
        assert_eq!((&extra["streamId"], &extra["vodSize"]), (&"stream1".into(), &1_234.into()));
        assert_eq!(extra["url"], "s3://bucket/a/b.mp4");
    }

    #[test]
    fn vod_ready_has_metadata_where_ant_media_has_it() {
        let webhook = WebhookOptions { format: BodyFormat::AntMedia, ..WebhookOptions::new("a", "http://localhost") };
        let metadata = Metadata::from([("court".to_owned(), "5".to_owned()), ("round".to_owned(), "final".to_owned())]);
        let body = body_of(&webhook, &available("/x/live/streams/a.mp4"), &metadata).1;
        let said = String::from_utf8(body).unwrap();
        let middle = r#""duration":"61234","metadata":{"court":"5","round":"final"},"timestamp":"#;
        assert!(said.contains(middle), "{said}");
    }

    #[test]
    fn the_application_holds_the_directory_of_streams() {
        for (path, app) in [
            ("/x/webapps/live/streams/a.mp4", "live"),
            ("/x/live/streams/streams/a.mp4", "live"),
            ("/srv/recordings/a.mp4", "recordings"),
            ("/streams/a.mp4", "streams"),
            ("/a.mp4", ""),
        ] {
            assert_eq!(app_of(Path::new(path)), app, "{path}");
        }
    }

    #[test]
    fn a_form_has_the_same_values_with_joined_names() {
        let mut webhook = WebhookOptions::new("a", "http://localhost");
        webhook.format = BodyFormat::Form;
        let (kind, body) = body_of(&webhook, &available("/srv/a & b=\n.mp4"), &Metadata::new());
        assert_eq!(kind, "application/x-www-form-urlencoded");
        let pairs: BTreeMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
        assert_eq!(pairs["type"], "vod.available");
        assert_eq!(pairs["vod.path"], "/srv/a & b=\n.mp4");
        assert_eq!((pairs["codecs.0"].as_str(), pairs["codecs.1"].as_str()), ("h264", "aac"));
        assert_eq!(pairs["object.sizeBytes"], "1234");
        assert!(!pairs.contains_key("object.checksum"));
    }

    #[test]
    fn an_id_is_one_endpoints_and_one_events() {
        let event = available("/srv/a.mp4");
        let id = id_of("webhook/a", &event);
        assert_eq!(id, id_of("webhook/a", &event));
        assert_ne!(id, id_of("webhook/b", &event));
        assert_ne!(id, id_of("webhook/a", &LoggedEvent { sequence: 8, ..event.clone() }));
        assert_ne!(id, id_of("webhook/a", &LoggedEvent { at_ms: 8, ..event }), "numbers begin anew in a new catalogue");
    }
}
