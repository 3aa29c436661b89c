//! One bucket (container) of a cloud: looks at objects, removes them, and turns what went wrong into our words.
//!
//! Assumes nothing about the naming of objects; what goes where is decided in `upload`.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path as Key;
use object_store::{GetOptions, ObjectStoreExt};

use super::attributes::{ASSET_ID, OWN_CHECKSUM, ObjectAttributes, description, metadata_name};
use super::backend::Backend;
use super::checksum::{ReportedChecksum, reported};
use super::conditions::ConditionSupport;
use super::diagnose::{Cause, FailureDetails, NetworkFailure, Verb, diagnose};
use super::error::{DeliverError, Result};
use super::tags::TagSupport;
use super::uplink::{ResponseHead, observed};
use super::wire::OpenUpload;
use super::xml::text_of;

/// One bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Name of the target, for errors.
    pub target: String,
    /// The clients.
    pub backend: Backend,
    /// Whether it refuses to create what is there.
    pub conditions: ConditionSupport,
    /// Whether its entity tags are checksums.
    pub tags: TagSupport,
}

/// An object as the store reports it.
#[derive(Debug, Clone)]
pub(super) struct StoredObject {
    pub size_bytes: u64,
    pub etag: Option<String>,
    pub version: Option<String>,
    /// What Google says of where it keeps it.
    pub storage_class: Option<String>,
    pub modified_ms: i64,
    /// Its whole-object checksum.
    pub reported: Option<ReportedChecksum>,
    /// The asset it says it belongs to.
    pub asset_id: Option<String>,
    /// What it says of its recording.
    pub description: Option<ObjectAttributes>,
    /// The checksum that it was given when it was sent, where the store's own cannot be trusted.
    pub own_checksum: Option<String>,
    /// Whether what looks like a checksum of the store was left out because it is none.
    pub is_doubted: bool,
}

impl StoredObject {
    /// Whether it says that it belongs to an asset.
    pub fn is_of(&self, asset_id: &str) -> bool {
        self.asset_id.as_deref() == Some(asset_id)
    }
}

/// The store's form of a key. Keys that it would refuse (control characters) are percent-encoded.
pub(super) fn key_of(text: &str) -> Key {
    Key::parse(text).unwrap_or_else(|_| Key::from(text))
}

impl Bucket {
    /// Makes a call and turns its failure into our words.
    pub async fn call<T>(
        &self,
        verb: Verb,
        key: &str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        let (result, answer) = observed(call).await;
        result.map_err(|error| self.fault(verb, key, error, answer.as_ref()))
    }

    /// Our words for a failed call.
    pub fn fault(
        &self,
        verb: Verb,
        key: &str,
        error: object_store::Error,
        answer: Option<&ResponseHead>,
    ) -> DeliverError {
        let provider = self.backend.provider;
        let seen = seen(&error, answer);
        let cause = diagnose(&seen, verb, provider);
        let request_id = answer.and_then(request_id);
        tracing::debug!(target = %self.target, key, request_id, error = seen.text, "request to the store failed");
        let ask_again_after = answer.and_then(ResponseHead::ask_again_after);
        let asks = |wait: Duration| {
            format!("the store answered {} and asks to wait {} s", seen.status.unwrap_or(0), wait.as_secs())
        };
        let source = said(&seen).or_else(|| ask_again_after.map(asks));
        let source = source.map_or_else(|| Box::new(error).into(), Into::into);
        let (target, key) = (self.target.clone(), key.to_owned());
        DeliverError::Store { target, verb, key, provider, cause, ask_again_after, source }
    }

    /// The error for a key under which something has come meanwhile.
    pub fn taken(&self, key: &str) -> DeliverError {
        self.refusal(Verb::Put, key, Cause::Taken, "an object was created there in the meantime")
    }

    /// An error that no request ended with.
    pub fn refusal(&self, verb: Verb, key: &str, cause: Cause, words: &str) -> DeliverError {
        let provider = self.backend.provider;
        DeliverError::Store {
            target: self.target.clone(),
            verb,
            key: key.to_owned(),
            provider,
            cause,
            ask_again_after: None,
            source: words.into(),
        }
    }

    /// What stands under a key.
    pub async fn head(&self, key: &str) -> Result<Option<StoredObject>> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let (result, answer) = observed(self.backend.check.get_opts(&key_of(key), options)).await;
        let found = match result {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.explain(key, self.fault(Verb::Head, key, error, answer.as_ref())).await),
        };
        let provider = self.backend.provider;
        let header = |name: &str| answer.as_ref().and_then(|a| a.header(name));
        if found.meta.e_tag.is_none() && header("content-type").is_some_and(|t| t.starts_with("text/html")) {
            // A login page says 200 to everything; every store gives its objects a tag.
            return Err(self.refusal(Verb::Head, key, Cause::NotAStore, "a web page without an entity tag"));
        }
        let metadata = |name| found.attributes.get(&metadata_name(provider, name)).map(|v| v.as_ref().to_owned());
        let (asset_id, own_checksum) = (metadata(ASSET_ID), metadata(OWN_CHECKSUM));
        Ok(Some(StoredObject {
            size_bytes: found.meta.size,
            reported: reported(provider, found.meta.e_tag.as_deref(), header),
            etag: found.meta.e_tag,
            version: found.meta.version,
            storage_class: header("x-goog-storage-class").map(str::to_owned),
            modified_ms: found.meta.last_modified.timestamp_millis(),
            asset_id,
            description: description(provider, &found.attributes),
            own_checksum,
            is_doubted: false,
        }))
    }

    /// A refused HEAD has no body and hence no reason; the first byte of a GET is asked for to hear it.
    async fn explain(&self, key: &str, refused: DeliverError) -> DeliverError {
        if !matches!(refused.cause(), Some(Cause::Denied { .. } | Cause::WrongRegion { region: None } | Cause::Other)) {
            return refused;
        }
        let options = GetOptions { range: Some((0..1).into()), ..GetOptions::default() };
        let asked = self.call(Verb::Head, key, self.backend.store.get_opts(&key_of(key), options)).await;
        match asked {
            Err(told) if told.cause() != Some(&Cause::NoSuchObject) => told,
            _ => refused,
        }
    }

    /// Removes an object; its absence is a success.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let (result, answer) = observed(self.backend.store.delete(&key_of(key))).await;
        match result {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.fault(Verb::Delete, key, error, answer.as_ref())),
        }
    }

    /// Reads a small object whole, or as much of one that is longer as shows it.
    pub async fn read(&self, key: &str, most_bytes: usize) -> Result<Vec<u8>> {
        let read = async {
            let mut pieces = self.backend.store.get(&key_of(key)).await?.into_stream();
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.next().await {
                bytes.extend_from_slice(&piece?);
                if bytes.len() > most_bytes {
                    break;
                }
            }
            Ok(bytes)
        };
        self.call(Verb::Get, key, read).await
    }

    /// Multipart uploads below a prefix that were begun and neither ended nor aborted; none where the store forgets
    /// them by itself.
    pub async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        match &self.backend.wire {
            Some(wire) => self.call(Verb::ListUploads, prefix, wire.open_uploads(prefix)).await,
            None => Ok(Vec::new()),
        }
    }

    /// Whether a listing below a prefix works and shows a key among its first answers.
    pub async fn lists(&self, prefix: &str, key: &str) -> Result<bool> {
        let prefix = (!prefix.is_empty()).then(|| key_of(prefix));
        let wanted = key_of(key);
        let look = async {
            let mut listing = self.backend.store.list(prefix.as_ref()).take(LISTED_MAX);
            while let Some(found) = listing.next().await {
                if found?.location == wanted {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        self.call(Verb::List, key, look).await
    }
}

/// One page of a listing.
const LISTED_MAX: usize = 1000;

fn seen(error: &object_store::Error, answer: Option<&ResponseHead>) -> FailureDetails {
    // Escaped, the JSON or XML that a store answers with could not be read any more.
    let text = crate::fault::raw_chain(error);
    let header = |name: &str| answer.and_then(|a| a.header(name)).map(str::to_owned);
    let is_of_identity = answer.is_some_and(|a| a.is_of_identity);
    let code = || text_of(&text, "Code").or_else(|| code_of_a_key(&text));
    FailureDetails {
        status: answer.map(|a| a.status),
        code: header("x-ms-error-code").or_else(code).or_else(|| text_in_json(&text, "error")),
        is_of_identity,
        region: header("x-amz-bucket-region").or_else(|| text_of(&text, "Region")),
        skew_s: answer.and_then(ResponseHead::skew_s),
        is_html: header("content-type").is_some_and(|t| t.starts_with("text/html")),
        network: network(error),
        text,
    }
}

/// What a store's people want to be told to find a request in their logs.
fn request_id(answer: &ResponseHead) -> Option<&str> {
    ["x-amz-request-id", "x-ms-request-id", "x-guploader-uploadid"].into_iter().find_map(|name| answer.header(name))
}

/// What the store said, without the pages around it; `None` if it did not say it by a code.
fn said(seen: &FailureDetails) -> Option<String> {
    let (status, code) = (seen.status?, seen.code.as_ref()?);
    let message = text_of(&seen.text, "Message").or_else(|| text_in_json(&seen.text, "error_description"));
    // What follows the first line are numbers for the service's own people.
    let message =
        message.and_then(|message| message.lines().next().map(|line| format!(": {}", line.trim_end_matches('.'))));
    let who = if seen.is_of_identity { "the token service" } else { "the store" };
    Some(format!("{who} answered {status} {code}{}", message.unwrap_or_default()))
}

/// The code of one key of a bulk deletion, which `object_store` puts into words.
fn code_of_a_key(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("(code: ")?;
    rest.split_once(')').map(|(code, _)| code.to_owned())
}

/// A text of the JSON object that stands in a text, as OAuth says its errors (RFC 6749 §5.2).
fn text_in_json(text: &str, name: &str) -> Option<String> {
    let object = text.find('{').map(|at| serde_json::Deserializer::from_str(&text[at..]))?;
    let object = object.into_iter::<serde_json::Value>().next()?.ok()?;
    object.get(name)?.as_str().map(str::to_owned)
}

fn network(error: &object_store::Error) -> Option<NetworkFailure> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(http) = source.downcast_ref::<HttpError>() {
            return Some(match http.kind() {
                HttpErrorKind::Connect => NetworkFailure::Connect,
                HttpErrorKind::Timeout => NetworkFailure::Timeout,
                HttpErrorKind::Interrupted | HttpErrorKind::Request => NetworkFailure::Lost,
                _ => NetworkFailure::Other,
            });
        }
        next = source.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_token_service_is_read_out_of_its_answer() {
        let text = "400 Bad Request: {\n \"error\": \"invalid_grant\", \"error_description\": \"Revoked.\"}: more";
        assert_eq!(text_in_json(text, "error").as_deref(), Some("invalid_grant"));
        assert_eq!(text_in_json(text, "error_description").as_deref(), Some("Revoked."));
        for other in ["no object", "{ not json", "403: {\"error\": {\"code\": 403}}", "{}"] {
            assert_eq!(text_in_json(other, "error"), None, "{other}");
        }
    }

    #[test]
    fn odd_names_become_keys() {
        for text in ["a/ü b.mp4", "x#1.mp4", "q?x=1&y.mp4", "100%.mp4"] {
            assert_eq!(key_of(text).as_ref(), text);
        }
        assert!(!key_of("a\nb.mp4").as_ref().contains('\n'));
    }
}
