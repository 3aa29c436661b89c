//! Under which method and path each operation is served.

use axum::Router;
use axum::http::{Method as HttpMethod, Uri};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use serde_json::Value;

use super::answering::{Service, answer, problem};
use super::openapi::{self, Schemas};
use super::{antmedia, events, media, playback, sharing, uploading};
use crate::operations::{
    AdoptRoot, CheckCatalog, CollectUploads, DeleteVod, DeleteVods, Doctor, EditVod, ExportVods, FollowEvents,
    FreeLocal, ListEvents, ListLive, ListQueue, ListRecordings, ListStreams, ListVods, MakeLogin, Operation,
    OperationError, Plan, PlanRetention, Process, ProcessBucket, RebuildCatalog, ReplayEvents, Rescan, RetryDeliveries,
    ShareVod, ShowRecording, ShowSettings, ShowStatus, ShowTimeline, ShowVod, SwitchRecording, TeachStream, UndoSplice,
    VerifyVods, VodHistogram,
};

/// How an operation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// It changes nothing; its arguments are in the path and the query.
    Get,
    /// It changes something; its arguments are in the path and the body.
    Post,
    /// It sets what the path names; its arguments are in the path and the body.
    Put,
    /// It changes what the path names; its arguments are in the path and the body.
    Patch,
    /// It deletes what the path names; its arguments are in the path and the query.
    Delete,
}

/// How an operation is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// Its data, when it has ended.
    Whole,
    /// The same, kept for the same request until a VoD or the configuration changes: its arguments are all in the path and the query.
    Kept,
    /// Its items as they come, then its data, each on a line of its own (`application/x-ndjson`).
    Lines,
}

/// An operation that is served.
pub trait Route: Operation {
    /// How it is asked for.
    const METHOD: Method;
    /// Where. `{name}` is an argument.
    const PATH: &'static str;
    /// How it is answered.
    const ANSWER: AnswerForm;
}

macro_rules! routes {
    ($($method:ident $path:literal $answer:ident $operation:ty;)*) => {
        $(impl Route for $operation {
            const METHOD: Method = Method::$method;
            const PATH: &'static str = concat!("/api/v1", $path);
            const ANSWER: AnswerForm = AnswerForm::$answer;
        })*

        /// Method and path of every operation.
        pub const ROUTES: &[(Method, &str)] = &[$((<$operation>::METHOD, <$operation>::PATH)),*];

        /// Path, method and description of every operation.
        pub(super) fn described(schemas: &mut Schemas) -> Vec<(String, &'static str, Value)> {
            vec![$(openapi::operation::<$operation>(schemas)),*]
        }

        /// Answers every operation.
        pub(super) fn router(service: Service) -> Router {
            let router = Router::new().merge(antmedia::routes()).merge(media::routes()).merge(openapi::routes());
            let router = router.merge(sharing::routes()).merge(playback::routes()).merge(events::routes()).merge(uploading::routes());
            $(let router = router.route(<$operation>::PATH, on(Method::$method.filter(), answer::<$operation>));)*
            router.fallback(no_such_path).method_not_allowed_fallback(no_such_method).with_state(service)
        }
    };
}

routes! {
    Get "/vods" Kept ListVods;
    Get "/vods/{id}" Whole ShowVod;
    Patch "/vods/{id}" Whole EditVod;
    Delete "/vods/{id}" Whole DeleteVod;
    Post "/vods/{id}/share" Whole ShareVod;
    Post "/vods/delete" Lines DeleteVods;
    Get "/vods/histogram" Kept VodHistogram;
    Get "/export" Lines ExportVods;
    Post "/verify" Lines VerifyVods;
    Get "/queue" Whole ListQueue;
    Get "/recordings" Whole ListRecordings;
    Post "/rescan" Whole Rescan;
    Post "/adopt" Whole AdoptRoot;
    Get "/live" Whole ListLive;
    Post "/queue/retry" Whole RetryDeliveries;
    Post "/queue/gc" Lines CollectUploads;
    Get "/retention" Whole PlanRetention;
    Post "/retention" Whole FreeLocal;
    Get "/streams" Whole ListStreams;
    Get "/streams/{id}/timeline" Whole ShowTimeline;
    Get "/streams/{id}/recording" Whole ShowRecording;
    Put "/streams/{id}/recording" Whole SwitchRecording;
    Post "/streams/{id}/reference" Whole TeachStream;
    Post "/login" Whole MakeLogin;
    Get "/settings" Whole ShowSettings;
    Get "/status" Whole ShowStatus;
    Post "/process" Lines Process;
    Post "/process-bucket" Lines ProcessBucket;
    Post "/plan" Whole Plan;
    Post "/undo" Whole UndoSplice;
    Post "/catalog/rebuild" Whole RebuildCatalog;
    Post "/catalog/check" Whole CheckCatalog;
    Post "/doctor" Whole Doctor;
    Get "/events/log" Whole ListEvents;
    Get "/events/follow" Lines FollowEvents;
    Post "/events/replay" Whole ReplayEvents;
}

impl Method {
    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    /// Its name in lower case.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// Whether arguments are in the body.
    pub(super) const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }

    pub(super) const fn of_http(self) -> HttpMethod {
        match self {
            Self::Get => HttpMethod::GET,
            Self::Post => HttpMethod::POST,
            Self::Put => HttpMethod::PUT,
            Self::Patch => HttpMethod::PATCH,
            Self::Delete => HttpMethod::DELETE,
        }
    }
}

async fn no_such_path(uri: Uri) -> Response {
    let error = OperationError::not_found(format!("there is no operation at `{}`", uri.path()));
    problem(
        &error.with_next_step(
            "If this is the command line, it and the daemon have different versions; restart the daemon.",
        ),
    )
}

async fn no_such_method(method: HttpMethod, uri: Uri) -> Response {
    problem(&OperationError::wrong_method(format!("`{}` does not support the method {method}", uri.path())))
}
