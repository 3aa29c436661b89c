//! `/api/v1/openapi-antmedia.json`: what is served in Ant Media's shapes, as an `OpenAPI` document of its own. Its answers are made from
//! the types that are written, its calls are those that `answering` knows.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::shapes::{Broadcast, ResultJson, VersionJson, VodJson};
use crate::operations::VodCount;
use crate::serve::openapi::{Schemas, text};
use crate::serve::wire::{JSON, PROBLEM};

/// The ways in which a path may begin, and what is added to the names of its operations.
const FORMS: [(&str, &str); 2] = [("/rest/v2", ""), ("/{app}/rest/v2", "OfApp")];

/// The document.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for call in calls(&mut schemas) {
        for (begin, end) in FORMS {
            let mut parameters = call.parameters.clone();
            if begin.contains("{app}") {
                let mut app = text("app", "path", "Name of the application.");
                app["example"] = "live".into();
                parameters.push(app);
            }
            let item = paths.entry(format!("{begin}{}", call.path)).or_insert_with(|| json!({}));
            item[call.method] = operation(&call, &format!("{}{end}", call.name), &parameters);
        }
    }
    paths.insert("/rest/v2/request".to_owned(), proxied());
    let mut definitions = schemas.definitions();
    definitions.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "aftercast, in Ant Media's shapes",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "VoDs and recording as clients of Ant Media Server ask for them. Without an application in the path it is the only one.",
        },
        "servers": [{ "url": "../.." }],
        "tags": [{ "name": "antmedia" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": definitions,
        },
    })
}

/// A call, without what the path begins with.
struct Call {
    path: &'static str,
    method: &'static str,
    name: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    answer: Value,
}

/// Calls as they are made.
struct Calls<'a> {
    schemas: &'a mut Schemas,
    /// The schema of the errors, and of what says only whether it was done.
    result: Value,
    made: Vec<Call>,
}

impl Calls<'_> {
    fn add(
        &mut self,
        (method, path, name): (&'static str, &'static str, &'static str),
        summary: &'static str,
        parameters: Vec<Value>,
        answer: Value,
    ) {
        self.made.push(Call { path, method, name, summary, parameters, answer });
    }

    fn of<T: JsonSchema>(&mut self) -> Value {
        self.schemas.of_answer::<T>().into()
    }
}

fn calls(schemas: &mut Schemas) -> Vec<Call> {
    let result = schemas.of_answer::<ResultJson<'_>>().into();
    let mut calls = Calls { schemas, result, made: Vec::new() };
    let id = || text("id", "path", "Id of the VoD.");
    let (vod, count) = (calls.of::<VodJson<'_>>(), calls.of::<VodCount>());
    let all = json!({ "type": "array", "items": vod });
    let list = ("get", "/vods/list/{offset}/{size}", "list");
    calls.add(list, "VoDs in a row, at most 1,000; those below zero count as zero.", of_list(), all);
    calls.add(("get", "/vods/count", "count"), "How many VoDs there are.", Vec::new(), count.clone());
    let search = vec![text("search", "path", "A part of the id, the name, the stream's id or its name.")];
    calls.add(("get", "/vods/count/{search}", "countFound"), "How many VoDs a search finds.", search, count);
    calls.add(("get", "/vods/{id}", "show"), "One VoD.", vec![id()], vod);
    let result = calls.result.clone();
    calls.add(
        ("delete", "/vods/{id}", "delete"),
        "Deletes a VoD, its file and its objects.",
        vec![id()],
        result.clone(),
    );
    let mut ids = text("ids", "query", "Ids, separated by commas; at most 1,000.");
    ids["required"] = true.into();
    calls.add(("delete", "/vods", "deleteSome"), "Deletes several VoDs.", vec![ids], result.clone());
    let stream = || text("id", "path", "Id of the stream.");
    let broadcast = calls.of::<Broadcast<'_>>();
    let summary = "Whether a stream is being recorded, in fields of a broadcast.";
    calls.add(("get", "/broadcasts/{id}", "broadcast"), summary, vec![stream()], broadcast);
    let switch = ("put", "/broadcasts/{id}/recording/{record}", "switchRecording");
    let record = json!({ "name": "record", "in": "path", "required": true, "schema": { "enum": ["true", "false"] } });
    let kind = json!({ "name": "recordType", "in": "query", "schema": { "enum": ["mp4", "webm"] } });
    calls.add(switch, "Tells the ingest server to record a stream, or not to.", vec![stream(), record, kind], result);
    let version = calls.of::<VersionJson>();
    calls.add(("get", "/version", "version"), "The version.", Vec::new(), version);
    calls.made
}

fn of_list() -> Vec<Value> {
    let number = |name: &str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "integer" } });
    let choice = |name: &str, of: &[&str]| json!({ "name": name, "in": "query", "schema": { "enum": of } });
    vec![
        number("offset"),
        number("size"),
        choice("sort_by", &["", "name", "date", "vodName", "creationDate"]),
        choice("order_by", &["", "asc", "desc"]),
        text("streamId", "query", "Only VoDs of this stream."),
        text("search", "query", "A part of the id, the name, the stream's id or its name."),
    ]
}

fn operation(call: &Call, name: &str, parameters: &[Value]) -> Value {
    let mut operation = json!({
        "operationId": name,
        "tags": ["antmedia"],
        "summary": call.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done.", "content": { JSON: { "schema": call.answer } } },
            "default": refused(),
        },
    });
    if call.method != "get" {
        operation["security"] = json!([{ "token": [] }]);
    }
    operation
}

/// Errors of these calls, and those of a request that does not come to them.
fn refused() -> Value {
    json!({ "description": "It was not done.", "content": {
        JSON: { "schema": { "$ref": "#/components/schemas/Result" } },
        PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" } },
    } })
}

fn problem() -> Value {
    json!({ "description": "An error (RFC 9457).", "type": "object", "required": ["title", "status"],
        "properties": { "title": { "type": "string" }, "status": { "type": "integer" } } })
}

/// The panel's proxy: any of the calls as a parameter.
fn proxied() -> Value {
    let mut path = text("_path", "query", "Path of a call, with its application: `live/rest/v2/vods/count`.");
    path["required"] = true.into();
    path["example"] = "live/rest/v2/vods/count".into();
    let answers = json!({
        "200": { "description": "As the call is answered.", "content": { JSON: {} } },
        "default": refused(),
    });
    json!({ "get": { "operationId": "proxied", "tags": ["antmedia"], "summary": "A call through the panel's proxy.",
        "parameters": [path], "responses": answers } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described_in_both_forms() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 2 * 8 + 1, "{:?}", paths.keys());
        let mut names = std::collections::BTreeSet::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                assert!(names.insert(operation["operationId"].to_string()), "{method} {path}");
                assert!(operation["responses"]["default"].is_object(), "{method} {path}");
                for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                    let is_it = |p: &&Value| p["name"] == name && p["in"] == "path" && p["required"] == true;
                    assert_eq!(operation["parameters"].as_array().unwrap().iter().filter(is_it).count(), 1, "{path}");
                }
            }
        }
        let vod = &document["components"]["schemas"]["VoD"];
        let required: Vec<_> = vod["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(["vodId", "filePath", "processStatus", "altitude"].iter().all(|name| required.contains(name)), "{vod}");
    }
}
