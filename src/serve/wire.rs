//! An operation as a request, and back again: the arguments of GET and DELETE are in the path and the query, those of POST
//! are the body.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use hyper::header::{CONTENT_TYPE, HOST};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::routes::{Method, Route};
use crate::fault::chain;
use crate::operations::OperationError;

/// Longest body of a request that is read, bytes.
const BODY_LIMIT_BYTES: usize = 1 << 20;
/// How long it may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Media type of one value.
pub(super) const JSON: &str = "application/json";
/// Media type of an error.
pub(super) const PROBLEM: &str = "application/problem+json";
/// Media type of items and data on lines.
pub(super) const LINES: &str = "application/x-ndjson";

type Pairs = Vec<(String, String)>;

/// The request that asks for an operation.
pub(super) fn request_of<O: Route>(operation: &O) -> Result<hyper::Request<String>, OperationError> {
    let refused = |error: &dyn std::error::Error| {
        OperationError::invalid(format!("this cannot be asked of the daemon: {}", chain(error)))
    };
    let (target, body) = if O::METHOD == Method::Post {
        (O::PATH.to_owned(), serde_json::to_string(operation).map_err(|e| refused(&e))?)
    } else {
        let arguments = serde_urlencoded::to_string(operation).map_err(|e| refused(&e))?;
        (target_of(O::PATH, serde_urlencoded::from_str(&arguments).map_err(|e| refused(&e))?)?, String::new())
    };
    let request = hyper::Request::builder().method(O::METHOD.of_http()).uri(target);
    request.header(HOST, "localhost").header(CONTENT_TYPE, JSON).body(body).map_err(|e| refused(&e))
}

/// Path and query; arguments that the path names go there.
fn target_of(path: &str, mut arguments: Pairs) -> Result<String, OperationError> {
    let is_in_path = |name: &str| path.contains(&format!("{{{name}}}"));
    if let Some((name, _)) = arguments.iter().find(|(name, value)| value.is_empty() && is_in_path(name)) {
        return Err(OperationError::not_found(format!("nothing has an empty {name}")));
    }
    let mut argument = |name: &str| {
        let at = arguments.iter().position(|(known, _)| known == name)?;
        Some(utf8_percent_encode(&arguments.remove(at).1, NON_ALPHANUMERIC).to_string())
    };
    let segment = |segment: &str| {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        name.and_then(&mut argument).unwrap_or_else(|| segment.to_owned())
    };
    let path = path.split('/').map(segment).collect::<Vec<_>>().join("/");
    Ok(match serde_urlencoded::to_string(&arguments) {
        Ok(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path,
    })
}

/// The operation that a request asks for.
pub(super) async fn operation_of<O: Route>(request: Request) -> Result<O, OperationError> {
    let not_understood = |error: &dyn std::error::Error| {
        OperationError::invalid(format!("the request is not understood: {}", chain(error)))
    };
    let (mut parts, body) = request.into_parts();
    if O::METHOD == Method::Post {
        let late = |_| OperationError::invalid("the body of the request did not arrive in time");
        let body = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, BODY_LIMIT_BYTES)).await.map_err(late)?;
        let body = body.map_err(|e| not_understood(&e))?;
        return serde_json::from_slice(if body.is_empty() { b"{}" } else { &body }).map_err(|e| not_understood(&e));
    }
    let in_path = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|e| not_understood(&e))?;
    let mut arguments: Pairs = in_path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let query = serde_urlencoded::from_str::<Pairs>(parts.uri.query().unwrap_or_default());
    arguments.extend(query.map_err(|e| not_understood(&e))?);
    let arguments = serde_urlencoded::to_string(&arguments).map_err(|e| not_understood(&e))?;
    serde_urlencoded::from_str(&arguments).map_err(|e| not_understood(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::{DeleteVod, ListVods};

    #[test]
    fn arguments_are_where_the_path_names_them_and_in_the_query() {
        let page = ListVods { stream: Some("room 1/ä&b".into()), limit: 7, ..ListVods::default() };
        let request = request_of(&page).unwrap();
        assert_eq!(request.uri().path(), "/api/v1/vods");
        let query = request.uri().query().unwrap();
        assert_eq!(serde_urlencoded::from_str::<ListVods>(query).unwrap(), page);
        let deletion = DeleteVod { id: "../x y".into(), keep_file: true, ..DeleteVod::default() };
        let request = request_of(&deletion).unwrap();
        assert_eq!(request.uri().path(), "/api/v1/vods/%2E%2E%2Fx%20y");
        assert_eq!(request.uri().query(), Some("keepFile=true&keepObjects=false&dryRun=false"));
    }
}
