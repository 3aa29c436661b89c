//! Reads ranges of an object whose copy was proven, for clips of recordings that were freed locally.
//!
//! An object is looked at once ([`Targets::pin`]) and compared with its proof. Every range is then asked for under the condition that
//! the object still is that one (`If-Match`), and what the answer says of it is compared again, for stores that ignore the condition. So
//! bytes of two objects are never mixed.
//!
//! It must not read without a bound: each call has a time limit, and the caller asks for as much as it has room for.

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use object_store::GetOptions;

use super::asking::{self, ProofCheck};
use super::bucket::{Bucket, key_of};
use super::diagnose::{Cause, Verb};
use super::error::{DeliverError, Result};
use super::ledger::NullLedger;
use super::target::{Difference, Target, TargetStore, Targets};
use super::transfer::UploadContext;
use super::uplink::observed;
use crate::recording::{Fingerprint, RemoteObject};
use crate::stop::Stop;

/// How long a range may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// A proven copy as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pinned {
    /// A file of a target that is a directory.
    File {
        /// Absolute path.
        path: PathBuf,
        /// Its state.
        fingerprint: Fingerprint,
    },
    /// An object of a bucket.
    Object(PinnedObject),
}

/// One state of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PinnedObject {
    /// Name of the target.
    pub target: String,
    /// Key inside the bucket.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its entity tag, if the store gives it the same one at every look.
    pub etag: Option<String>,
    /// When it was last written, milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

/// What a look at a copy found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It is as it was proven.
    AsProven(Pinned),
    /// It differs, or is missing.
    Differs(Difference),
}

impl Targets {
    /// Looks at a proven copy, so that ranges of this state of it can be read.
    pub fn pin(&self, proven: &RemoteObject, cancel: &Stop) -> Result<Looked> {
        let target = self.find(&proven.target)?;
        let run = UploadContext { cancel, progress: &|_| (), buffers: &target.buffers, ledger: &NullLedger };
        match &target.store {
            TargetStore::Directory(directory) => {
                let seen = directory.fingerprint(&proven.key)?;
                let answer = asking::ask_directory(directory, proven, &run)?;
                let path = directory.path_of(&proven.key);
                Ok(match (answer, seen) {
                    (ProofCheck::Differs(difference), _) => Looked::Differs(difference),
                    (_, Some(fingerprint)) => Looked::AsProven(Pinned::File { path, fingerprint }),
                    (_, None) => Looked::Differs(Difference::missing()),
                })
            }
            TargetStore::Bucket(bucket) => self.network.until_stopped(pin(bucket, proven, &run)),
        }
    }

    /// Reads a range of an object in the state in which it was looked at; `None` if it is another one now. A range must lie within it.
    pub fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let Target { store: TargetStore::Bucket(bucket), .. } = self.find(&object.target)? else {
            return Err(DeliverError::UnknownTarget(object.target.clone()));
        };
        self.network.until_stopped(in_time(bucket, &object.key, read(bucket, object, range)))
    }
}

async fn pin(bucket: &Bucket, proven: &RemoteObject, run: &UploadContext<'_>) -> Result<Looked> {
    let (answer, held) = asking::look_in_bucket(bucket, proven, run).await?;
    if let ProofCheck::Differs(difference) = answer {
        return Ok(Looked::Differs(difference));
    }
    let Some(held) = held else { return Ok(Looked::Differs(Difference::missing())) };
    Ok(Looked::AsProven(Pinned::Object(PinnedObject {
        target: proven.target.clone(),
        key: proven.key.clone(),
        size_bytes: held.size_bytes,
        etag: held.etag,
        modified_ms: held.modified_ms,
    })))
}

async fn in_time<T>(bucket: &Bucket, key: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| {
        let words = format!("no answer within {} s", PATIENCE.as_secs());
        Err(bucket.refusal(Verb::Get, key, Cause::Timeout, &words))
    };
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(late)
}

/// Reads a range; `None` if the object is another one now.
pub(super) async fn read(bucket: &Bucket, object: &PinnedObject, range: Range<u64>) -> Result<Option<Vec<u8>>> {
    let options =
        GetOptions { range: Some(range.clone().into()), if_match: object.etag.clone(), ..GetOptions::default() };
    let fault = |error, answer: Option<&_>| bucket.fault(Verb::Get, &object.key, error, answer);
    let (got, answer) = observed(bucket.backend.store.get_opts(&key_of(&object.key), options)).await;
    let got = match got {
        Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) => return Ok(None),
        got => got.map_err(|error| fault(error, answer.as_ref()))?,
    };
    let is_same = got.meta.size == object.size_bytes
        && match (&object.etag, &got.meta.e_tag) {
            (Some(then), Some(now)) => then == now,
            _ => got.meta.last_modified.timestamp_millis() == object.modified_ms,
        };
    if !is_same {
        return Ok(None);
    }
    let short = |found: u64| {
        let words = format!("{found} of {} bytes arrived", range.end - range.start);
        bucket.refusal(Verb::Get, &object.key, Cause::ConnectionLost, &words)
    };
    if got.range != range {
        return Err(short(got.range.end.saturating_sub(got.range.start)));
    }
    let (mut pieces, mut bytes) = (got.into_stream(), Vec::new());
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| fault(error, None))?);
    }
    if bytes.len() as u64 == range.end - range.start { Ok(Some(bytes)) } else { Err(short(bytes.len() as u64)) }
}

impl Difference {
    /// There is no object.
    fn missing() -> Self {
        Self { words: "it is missing".into(), is_missing: true, when_read: false }
    }
}
