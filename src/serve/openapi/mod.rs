//! `/api/v1/openapi.json`: what the API takes and answers, as an `OpenAPI` 3.1 document, and `/api/v1/docs`, the same to read. The calls
//! in Ant Media's shapes have a document of their own (`antmedia/described`).
//!
//! Both are made from the types of the operations: their fields are the arguments, their documentation is the text.

mod page;

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::answering::Service;
use super::antmedia;
use super::routes::{AnswerForm, Method, Route, described};
use super::wire::{JSON, LINES, PROBLEM};
use crate::operations::OperationError;

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
static OF_ANT_MEDIA: LazyLock<Value> = LazyLock::new(antmedia::document);

/// Where the document and its page are.
pub(super) fn routes() -> Router<Service> {
    use axum::routing::get;
    Router::new()
        .route("/api/v1/openapi.json", get(async || Json(&*DOCUMENT)))
        .route("/api/v1/openapi-antmedia.json", get(async || Json(&*OF_ANT_MEDIA)))
        .route("/api/v1/docs", get(read))
}

async fn read() -> Response {
    let kind = (CONTENT_TYPE, "text/html; charset=utf-8");
    let policy = (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    ([kind, policy], page::of(&DOCUMENT)).into_response()
}

/// Makes the schemas of what is asked and of what is answered.
pub(super) struct Schemas {
    /// Of arguments, each whole in its place.
    asked: SchemaGenerator,
    /// Of answers, which share definitions.
    answered: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let asked = SchemaSettings::draft2020_12().for_deserialize().with(|s| {
            s.meta_schema = None;
            s.inline_subschemas = true;
        });
        let answered = SchemaSettings::draft2020_12().for_serialize().with(|s| {
            s.meta_schema = None;
            s.definitions_path = "/components/schemas".into();
        });
        Self { asked: asked.into_generator(), answered: answered.into_generator() }
    }

    pub(super) fn of_answer<T: JsonSchema>(&mut self) -> Schema {
        self.answered.subschema_for::<T>()
    }

    /// What answers share.
    pub(super) fn definitions(mut self) -> Map<String, Value> {
        self.answered.take_definitions(true)
    }
}

fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for (path, method, operation) in described(&mut schemas) {
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation;
    }
    paths.extend(others());
    // The error that every operation may answer, with what HTTP adds to it.
    schemas.of_answer::<OperationError>();
    let problem = json!({
        "description": "An error (RFC 9457).",
        "allOf": [
            { "$ref": "#/components/schemas/OperationError" },
            { "type": "object", "required": ["title", "status"], "properties": {
                "title": { "type": "string" }, "status": { "type": "integer" } } },
        ],
    });
    let mut definitions = schemas.definitions();
    definitions.insert("Problem".to_owned(), problem);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "aftercast",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Recordings, VoDs and deliveries of an aftercast daemon. Times are milliseconds since the Unix epoch, sizes bytes.",
        },
        "servers": [{ "url": "../.." }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": definitions,
        },
    })
}

/// What is no operation with one JSON answer.
fn others() -> Map<String, Value> {
    let media = [
        ("200", "The whole file.", "*/*"),
        ("206", "The ranges that were asked for.", "*/*"),
        ("302", "The local file is freed: where a copy is.", ""),
        ("307", "Another node has it: where it or a copy is.", ""),
        ("304", "It is what the client has.", ""),
        ("default", "It was not done.", PROBLEM),
    ];
    let events = [("200", "Until one side ends it.", "text/event-stream"), ("default", "It was not done.", PROBLEM)];
    let id = || text("id", "path", "Id of the VoD.");
    let parameters = json!([
        text("Last-Event-ID", "header", "Continue after this `id`."),
        text("after", "query", "The same."),
        text("node", "query", "With a fleet: events of this node, by name or id; `all`: of all nodes."),
        text("types", "query", "Only these types, separated by commas; `*` and `?` stand for others."),
    ]);
    let what = "Events as they happen (server-sent events); `id` is the sequence number.";
    let stream = get("StreamEvents", what, &parameters, &events);
    let download = text("download", "query", "`1`: with a name to save it under.");
    let parameters = json!([id(), download, text("Range", "header", "Bytes.")]);
    let whole = get("GetMedia", "The media of a VoD, whole or in ranges (RFC 9110, 14).", &parameters, &media);
    let part = |name| text(name, "path", "Part of the link.");
    let [poster, sprite, index] = pictures(&media);
    let parameters = json!([id(), part("expires"), part("signature")]);
    let shared =
        get("GetShared", "The media of a VoD for whoever has the link; it needs no token.", &parameters, &media);
    let all = [
        (super::events::PATH, stream),
        (super::media::PATH, whole),
        (super::media::POSTER, poster),
        (super::media::SPRITE, sprite),
        (super::media::SPRITE_INDEX, index),
        ("/share/{id}/{expires}/{signature}", shared),
        (super::playback::CLIP, clip()),
        (super::uploading::PATH, reference_upload()),
    ];
    all.into_iter().map(|(path, item)| (path.to_owned(), item)).collect()
}

/// The pictures of a VoD.
fn pictures(answers: &[(&str, &str, &str)]) -> [Value; 3] {
    let id = text("id", "path", "Id of the VoD.");
    let version =
        text("v", "query", "Digest of the picture, at least 16 digits: the answer may then be kept for ever.");
    let of_picture = json!([id, version]);
    let text_of = [
        ("200", "The WebVTT.", "text/vtt"),
        ("304", "It is what the client has.", ""),
        ("default", "There is none.", PROBLEM),
    ];
    [
        get("GetPoster", "The poster of a VoD.", &of_picture, answers),
        get("GetSprite", "The sprite sheet of a VoD: small pictures in regular steps.", &of_picture, answers),
        get("GetSpriteIndex", "The WebVTT of the sprite sheet, with relative URLs.", &json!([id]), &text_of),
    ]
}

/// What tells codec parameters, as the body of a request.
fn reference_upload() -> Value {
    let taught = json!({ JSON: { "schema": { "$ref": "#/components/schemas/StreamTaught" } } });
    json!({ "post": {
        "operationId": "UploadReference",
        "summary": "Learns codec parameters from an intact recording of a stream, the body of the request: 64 MiB at most.",
        "parameters": [text("id", "path", "Id of the stream.")],
        "requestBody": { "required": true, "content": { "application/octet-stream": {} } },
        "responses": {
            "200": { "description": "What was learned.", "content": taught },
            "default": { "description": "It was not done.", "content": { PROBLEM: {} } },
        },
    } })
}

fn clip() -> Value {
    let answers = [
        ("200", "The whole clip.", "video/mp4"),
        ("206", "The range that was asked for.", "video/mp4"),
        ("304", "It is what the client has.", ""),
        ("416", "The clip has no byte of the range.", ""),
        ("502", "A recording is not on the local disk, and the store refuses or has another object.", PROBLEM),
        ("503", "The same, and the store does not answer; or there are too many requests.", PROBLEM),
        ("default", "It was not done.", PROBLEM),
    ];
    let needed = |name, what| {
        let mut parameter = text(name, "query", what);
        parameter["required"] = true.into();
        parameter
    };
    let parameters = json!([
        text("id", "path", "Id of the stream."),
        needed("start", "Its first moment: RFC 3339, or milliseconds since the Unix epoch."),
        needed("end", "The first moment that is not in it."),
        text("format", "query", "`mp4` (if it is not said) or `fmp4`."),
        text("rendition", "query", "Only this rendition."),
        text("download", "query", "`1`: with a name to save it under."),
        text("Range", "header", "One range of bytes."),
    ]);
    let what =
        "A span of a stream as one MP4. Recordings that were freed locally are read from their stores by ranges.";
    get("GetClip", what, &parameters, &answers)
}

/// A parameter that is text.
pub(super) fn text(name: &str, place: &str, what: &str) -> Value {
    json!({ "name": name, "in": place, "required": place == "path", "description": what, "schema": { "type": "string" } })
}

/// A path with GET, and its answers: code, meaning, media type if it has a body.
fn get(operation: &str, summary: &str, parameters: &Value, answers: &[(&str, &str, &str)]) -> Value {
    let answer = |(code, what, kind): &(&str, &str, &str)| {
        let content = if kind.is_empty() { json!({}) } else { json!({ *kind: {} }) };
        ((*code).to_owned(), json!({ "description": what, "content": content }))
    };
    let answers: Map<_, _> = answers.iter().map(answer).collect();
    json!({ "get": { "operationId": operation, "summary": summary, "parameters": parameters, "responses": answers } })
}

/// Path, method and description of an operation.
pub(super) fn operation<O: Route>(schemas: &mut Schemas) -> (String, &'static str, Value) {
    let arguments: Value = schemas.asked.root_schema_for::<O>().into();
    let data = schemas.of_answer::<O::Data>();
    let content = match O::ANSWER {
        AnswerForm::Whole | AnswerForm::Kept => whole(&data),
        AnswerForm::Lines => lines(&schemas.of_answer::<O::Item>(), &data),
    };
    let description = described_operation(&O::schema_name(), O::METHOD, O::PATH, &arguments, &content);
    (O::PATH.to_owned(), O::METHOD.name(), description)
}

/// The description of an operation, by what it was asked with and the content that it is answered with.
fn described_operation(name: &str, method: Method, path: &str, arguments: &Value, content: &Value) -> Value {
    let (parameters, body) = of_arguments(path, method, arguments);
    let problem = json!({ "description": "It was not done, or not to its end.",
        "content": { PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" } } } });
    let mut operation = json!({
        "operationId": name,
        "summary": arguments.get("description").cloned().unwrap_or_default(),
        "parameters": parameters,
        "responses": { "200": { "description": "Done.", "content": content }, "default": problem },
    });
    // What may be another node's to do.
    if arguments["properties"].get("queue").is_some() {
        let pending = json!({ JSON: { "schema": { "$ref": "#/components/schemas/OperationError" } } });
        operation["responses"]["202"] =
            json!({ "description": "Another node has not answered yet.", "content": pending });
    }
    if method != Method::Get {
        operation["security"] = json!([{ "token": [] }]);
    }
    if let Some(schema) = body {
        operation["requestBody"] = json!({ "content": { JSON: { "schema": schema } } });
    }
    operation
}

/// One JSON value.
fn whole(data: &Schema) -> Value {
    json!({ JSON: { "schema": data } })
}

/// Each line of an answer in lines.
fn lines(item: &Schema, data: &Schema) -> Value {
    let line = |name: &str, schema: Value| json!({ "type": "object", "required": [name], "properties": { name: schema }, "additionalProperties": false });
    json!({ LINES: { "schema": {
        "description": "One JSON value on each line: items as they come, then the data or the error.",
        "oneOf": [
            line("item", item.clone().into()),
            line("data", data.clone().into()),
            line("error", json!({ "$ref": "#/components/schemas/OperationError" })),
        ],
    } } })
}

/// Arguments in the path and the query, and the schema of those in the body.
fn of_arguments(path: &str, method: Method, arguments: &Value) -> (Vec<Value>, Option<Value>) {
    let required: Vec<_> = arguments["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_in_path = |name: &str| path.contains(&format!("{{{name}}}"));
    let properties = arguments["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |name: &String, schema: &Value| {
        let place = if is_in_path(name) { "path" } else { "query" };
        let is_required = is_in_path(name) || required.contains(&name.as_str());
        json!({ "name": name, "in": place, "required": is_required,
            "description": schema.get("description").cloned().unwrap_or_default(), "schema": schema })
    };
    let listed = properties.iter().filter(|(name, _)| is_in_path(name) || !method.has_body());
    let parameters = listed.map(|(name, schema)| parameter(name, schema)).collect();
    let body = method.has_body().then(|| {
        let mut body = arguments.clone();
        if let Some(properties) = body["properties"].as_object_mut() {
            properties.retain(|name, _| !is_in_path(name));
        }
        if let Some(required) = body.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| !name.as_str().is_some_and(is_in_path));
        }
        body
    });
    (parameters, body)
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn every_operation_is_described_with_its_arguments_and_its_answer() {
        let document = document();
        for (method, path) in ROUTES {
            let operation = &document["paths"][*path][method.name()];
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{path}: {operation}");
            assert!(operation["responses"]["200"]["content"].is_object(), "{path}");
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let is_it = |p: &&Value| p["name"] == name && p["in"] == "path" && p["required"] == true;
                assert_eq!(operation["parameters"].as_array().unwrap().iter().filter(is_it).count(), 1, "{path}");
            }
        }
        let list = &document["paths"]["/api/v1/vods"]["get"]["parameters"];
        let names: Vec<_> = list.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert!(["stream", "limit", "after", "fromMs"].iter().all(|name| names.contains(name)), "{names:?}");
        let edit = &document["paths"]["/api/v1/vods/{id}"]["patch"]["requestBody"]["content"][JSON]["schema"];
        assert!(edit["properties"]["description"].is_object() && edit["properties"].get("id").is_none(), "{edit}");
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(all) => all.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        for document in [document(), antmedia::document()] {
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(found.len() > 20, "{found:?}");
            for reference in found {
                assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            }
        }
    }

    #[test]
    fn the_page_names_every_path_and_needs_no_other_host() {
        let page = page::of(&document());
        assert!(ROUTES.iter().all(|(_, path)| page.contains(path)));
        assert_eq!(page.matches("href=").count(), page.matches("href=\"openapi.json\"").count());
        assert!(!page.contains("src=") && !page.contains("<script"), "{page}");
    }
}
