//! What is served on TCP: everything that the socket serves, behind tokens and CORS, and what needs no operation.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LINK};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::access::{AccessPolicy, guard};
use super::answering::{Service, problem};
use super::metrics::{self, Metrics};
use super::{page, routes, sessions};
use crate::config::ServeOptions;
use crate::operations::ShowStatus;

/// How long a browser may remember what CORS allows.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);

/// Answers requests that come in on TCP.
pub(super) fn router(service: Service, access: Arc<AccessPolicy>, options: &ServeOptions) -> Router {
    let (has_page, origins) = (options.page, options.origins.as_slice());
    let metrics = Metrics::begin(&service.context);
    let sessions = sessions::routes(access.sessions().clone(), options.tls_cert.is_some());
    let page = if has_page { page::routes() } else { Router::new() };
    routes::router(service.clone())
        .merge(page.merge(sessions).with_state(service.clone()))
        .merge(
            Router::new().route("/healthz", get(health)).route("/readyz", get(readiness)).with_state(service.clone()),
        )
        .merge(Router::new().route("/metrics", get(measured)).with_state((service, metrics)))
        .layer(from_fn_with_state(access, guard))
        .layer(cors(origins))
}

/// The process runs and answers; whether it can work is what `/readyz` says.
async fn health() -> &'static str {
    "ok\n"
}

/// Whether recordings are taken, and if not, why (503).
async fn readiness(State(service): State<Service>) -> Response {
    match service.ask(ShowStatus {}).await {
        Err(error) => problem(&error),
        Ok(status) => {
            let code = if status.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let mut said = json!({ "isReady": status.is_ready, "notReady": status.not_ready });
            if !status.degraded.is_empty() {
                said["degraded"] = json!(status.degraded);
            }
            (code, Json(said)).into_response()
        }
    }
}

async fn measured(State((service, metrics)): State<(Service, Metrics)>) -> Response {
    metrics::answer(service, metrics).await
}

fn cors(origins: &[String]) -> CorsLayer {
    const EXPOSED: [HeaderName; 5] = [ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LINK];
    let layer = CorsLayer::new().max_age(CORS_MAX_AGE).expose_headers(EXPOSED);
    if origins.is_empty() {
        return layer;
    }
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    layer.allow_origin(origin).allow_methods(methods).allow_headers(AllowHeaders::mirror_request())
}
