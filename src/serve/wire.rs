//! An operation as a request, and back again: arguments that the path names are there, the others of GET and DELETE in the query,
//! those of POST, PUT and PATCH in the body.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use hyper::header::{CONTENT_TYPE, HOST};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;

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

pub(super) type Pairs = Vec<(String, String)>;

/// The arguments of an operation on the wire, where it does not matter of which one: what works with them is in the program once.
pub(super) enum Arguments {
    /// Of POST, PUT and PATCH.
    Body(Value),
    /// Of GET and DELETE: a query.
    Query(String),
}

impl Arguments {
    /// The operation that they are of.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, OperationError> {
        match self {
            Self::Body(fields) => serde_json::from_value(fields).map_err(|e| not_valid(&e)),
            Self::Query(query) => serde_urlencoded::from_str(&query).map_err(|e| not_valid(&e)),
        }
    }
}

/// The request that asks for an operation.
pub(super) fn request_of<O: Route>(operation: &O) -> Result<hyper::Request<String>, OperationError> {
    let arguments = if O::METHOD.has_body() {
        Arguments::Body(serde_json::to_value(operation).map_err(|e| not_sent(&e))?)
    } else {
        Arguments::Query(serde_urlencoded::to_string(operation).map_err(|e| not_sent(&e))?)
    };
    request_with(O::METHOD, O::PATH, arguments)
}

fn request_with(method: Method, path: &str, arguments: Arguments) -> Result<hyper::Request<String>, OperationError> {
    let (target, body) = match arguments {
        Arguments::Body(mut fields) => {
            let in_path = take_path_arguments(path, &mut fields);
            (target_of(path, in_path)?, fields.to_string())
        }
        Arguments::Query(query) => {
            (target_of(path, serde_urlencoded::from_str(&query).map_err(|e| not_sent(&e))?)?, String::new())
        }
    };
    let request = hyper::Request::builder().method(method.of_http()).uri(target);
    request.header(HOST, "localhost").header(CONTENT_TYPE, JSON).body(body).map_err(|e| not_sent(&e))
}

fn not_sent(error: &dyn std::error::Error) -> OperationError {
    OperationError::invalid(format!("cannot send this request to the daemon: {}", chain(error)))
}

/// Takes those arguments out that the path names.
fn take_path_arguments(path: &str, arguments: &mut Value) -> Pairs {
    let Value::Object(fields) = arguments else { return Pairs::new() };
    let named = fields.iter().filter(|(name, _)| path.contains(&format!("{{{name}}}")));
    let taken: Pairs = named.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    fields.retain(|name, _| !taken.iter().any(|(known, _)| known == name));
    taken
}

/// Path and query; arguments that the path names go there.
fn target_of(path: &str, mut arguments: Pairs) -> Result<String, OperationError> {
    let is_in_path = |name: &str| path.contains(&format!("{{{name}}}"));
    if let Some((name, _)) = arguments.iter().find(|(name, value)| value.is_empty() && is_in_path(name)) {
        return Err(OperationError::not_found(format!("`{name}` must not be empty")));
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

/// The body of a request, within so many bytes and some seconds: whoever never sends it must not keep a connection.
pub(super) async fn body_of(body: Body, most_bytes: usize) -> Result<Bytes, OperationError> {
    let late = |_| OperationError::invalid("the body of the request did not arrive in time");
    let body = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, most_bytes)).await.map_err(late)?;
    body.map_err(|e| not_valid(&e))
}

/// The arguments of a request.
pub(super) async fn arguments_of(method: Method, request: Request) -> Result<Arguments, OperationError> {
    let (mut parts, body) = request.into_parts();
    let in_path = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|e| not_valid(&e))?;
    let in_path = in_path.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    if method.has_body() {
        let body = body_of(body, BODY_LIMIT_BYTES).await?;
        let body = if body.is_empty() { &b"{}"[..] } else { &body };
        let mut arguments: Value = serde_json::from_slice(body).map_err(|e| not_valid(&e))?;
        if let Value::Object(fields) = &mut arguments {
            fields.extend(in_path.map(|(name, value)| (name, Value::String(value))));
        }
        return Ok(Arguments::Body(arguments));
    }
    joined(in_path.collect(), parts.uri.query().unwrap_or_default())
}

/// Arguments that are known from elsewhere, and those of a query.
pub(super) fn arguments<T: DeserializeOwned>(known: Pairs, query: &str) -> Result<T, OperationError> {
    joined(known, query)?.read()
}

fn joined(mut known: Pairs, query: &str) -> Result<Arguments, OperationError> {
    known.extend(serde_urlencoded::from_str::<Pairs>(query).map_err(|e| not_valid(&e))?);
    serde_urlencoded::to_string(&known).map(Arguments::Query).map_err(|e| not_valid(&e))
}

/// What a request is answered with that cannot be read.
pub(super) fn not_valid(error: &dyn std::error::Error) -> OperationError {
    OperationError::invalid(format!("the request is not valid: {}", chain(error)))
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
        assert_eq!(request.uri().query(), Some("keepFile=true&keepObjects=false&dryRun=false&queue=false"));
    }
}
