//! Ant Media's JSON: a VoD with all of its fields, `Result`, and the smaller ones.

use axum::body::Bytes;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::apps::App;
use crate::discover::{Growth, OpenFor};
use crate::fault::Class;
use crate::operations::{ErrorKind, OperationError, RecordingState, StreamRecording};
use crate::recording::{VodRecord, VodType};
use crate::serve::wire::JSON;

/// `io.antmedia.datastore.db.types.VoD`: every field always, nulls written.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "VoD")]
pub(super) struct VodJson<'a> {
    stream_name: &'a str,
    vod_name: &'a str,
    stream_id: &'a str,
    creation_date: i64,
    start_time: i64,
    duration: i64,
    file_size: u64,
    file_path: String,
    vod_id: &'a str,
    #[serde(rename = "type")]
    vod_type: VodType,
    preview_file_path: Option<String>,
    /// Belongs to a script of Ant Media's that does not run here; panels play what is null or finished.
    process_status: Option<&'static str>,
    process_start_time: i64,
    process_end_time: i64,
    description: Option<&'a str>,
    /// Names and values as JSON, in Ant Media a text of any form.
    metadata: Option<String>,
    longitude: Option<&'a str>,
    latitude: Option<&'a str>,
    altitude: Option<&'a str>,
}

impl<'a> VodJson<'a> {
    pub(super) fn of(app: &App, vod: &'a VodRecord) -> Self {
        Self {
            stream_name: &vod.stream_name,
            vod_name: &vod.vod_name,
            stream_id: &vod.stream_id,
            creation_date: vod.creation_date,
            start_time: vod.start_time,
            duration: vod.duration,
            file_size: vod.file_size,
            file_path: app.file_path(vod),
            vod_id: &vod.vod_id,
            vod_type: vod.vod_type,
            preview_file_path: App::preview_path(vod),
            process_status: None,
            process_start_time: 0,
            process_end_time: 0,
            description: vod.description.as_deref(),
            metadata: (!vod.metadata.is_empty()).then(|| serde_json::to_string(&vod.metadata).unwrap_or_default()),
            longitude: None,
            latitude: None,
            altitude: None,
        }
    }
}

/// What is known here of `io.antmedia.datastore.db.types.Broadcast`. Its switches are 1 where a file grows, -1 where it is certain
/// that none does, and 0 ("as the application says") where it cannot be told.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Broadcast<'a> {
    stream_id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    name: Option<&'a str>,
    /// Null where it is not known.
    status: Option<&'static str>,
    mp4_enabled: i32,
    #[serde(rename = "webMEnabled")]
    webm_enabled: i32,
    /// Not a field of Ant Media's.
    recording: &'a StreamRecording,
}

impl<'a> Broadcast<'a> {
    pub(super) fn of(told: &'a StreamRecording) -> Self {
        let is_on = told.state == RecordingState::Recording;
        let switch = |is_its: bool| match told.state {
            RecordingState::Recording => i32::from(is_its),
            RecordingState::NotRecording => -1,
            RecordingState::Unknown => 0,
        };
        let is_webm =
            |file: &Growth| file.path.file_name().is_some_and(|name| name.to_string_lossy().contains(".webm"));
        let open = || told.roots.iter().flat_map(|root| &root.files).filter(|file| file.writer != OpenFor::Nobody);
        let has = |webm: bool| open().any(|file| is_webm(file) == webm);
        Self {
            stream_id: &told.stream_id,
            kind: "liveStream",
            name: None,
            status: is_on.then_some("broadcasting"),
            mp4_enabled: switch(has(false)),
            webm_enabled: switch(has(true)),
            recording: told,
        }
    }
}

/// `io.antmedia.rest.model.Result`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Result")]
pub(super) struct ResultJson<'a> {
    pub success: bool,
    pub message: Option<&'a str>,
    pub data_id: Option<&'a str>,
    pub error_id: i32,
}

/// `io.antmedia.rest.model.Version`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Version")]
pub(super) struct VersionJson {
    version_name: &'static str,
    version_type: &'static str,
    build_number: &'static str,
}

impl VersionJson {
    pub(super) const THIS: Self = Self {
        version_name: env!("CARGO_PKG_VERSION"),
        version_type: "aftercast",
        build_number: env!("CARGO_PKG_VERSION"),
    };
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefusedRequest {
    pub status: StatusCode,
    pub message: String,
    /// The methods that the path has, where it has not the one that was used.
    pub allowed: Option<&'static str>,
}

impl RefusedRequest {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allowed: None }
    }

    pub(super) fn response(&self) -> Response {
        let outcome = ResultJson { success: false, message: Some(&self.message), data_id: None, error_id: -1 };
        let body = serde_json::to_vec(&outcome).unwrap_or_default();
        let mut response = (self.status, [(CONTENT_TYPE, JSON)], body).into_response();
        if let Some(allowed) = self.allowed {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

impl From<OperationError> for RefusedRequest {
    fn from(error: OperationError) -> Self {
        let status = match (error.kind, error.class) {
            (ErrorKind::Invalid, _) => StatusCode::BAD_REQUEST,
            (ErrorKind::NotFound, _) => StatusCode::NOT_FOUND,
            (ErrorKind::OtherNode, _) => StatusCode::CONFLICT,
            (ErrorKind::Pending, _) => StatusCode::ACCEPTED,
            (ErrorKind::NotSupported, _) => StatusCode::NOT_IMPLEMENTED,
            (ErrorKind::Internal, _) => StatusCode::INTERNAL_SERVER_ERROR,
            (_, Class::Permanent) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let said = [vec![error.detail], error.causes].concat().join(": ");
        let said = error.next_step.map_or_else(|| said.clone(), |next_step| format!("{said}. {next_step}"));
        Self::new(status, said)
    }
}

/// An answer.
pub(super) fn json(body: Bytes) -> Response {
    ([(CONTENT_TYPE, JSON)], body).into_response()
}
