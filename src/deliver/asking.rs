//! Asks a store about an object right before its local file is freed: one short request, no download of the object.
//!
//! It must not wait for long: the local file stays while there is no answer, so nothing is lost by giving up.

use std::time::Duration;

use super::bucket::Bucket;
use super::diagnose::{Cause, Verb};
use super::directory::Directory;
use super::error::Result;
use super::target::{Difference, RemoteState};
use super::transfer::Run;
use super::verify;
use crate::recording::RemoteObject;

/// How long a store may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// What a store says of an object now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is as its delivery proved it.
    AsProven {
        /// Whether a checksum, an entity tag or a version was compared, and not the size alone.
        beyond_size: bool,
    },
    /// It differs or is missing.
    Differs(Difference),
}

impl Answer {
    pub(super) fn of(now: Option<&RemoteState>, proven: &RemoteObject) -> Self {
        match verify::difference(now, proven) {
            Some(words) => Self::Differs(Difference { words, is_missing: now.is_none(), when_read: false }),
            None => Self::AsProven { beyond_size: now.is_some_and(|now| now.compares_with(proven)) },
        }
    }
}

/// Asks a bucket, and gives up after [`ANSWER_PATIENCE`] or when the work is told to stop.
pub(super) async fn ask_bucket(bucket: &Bucket, proven: &RemoteObject, run: &Run<'_>) -> Result<Answer> {
    let held = tokio::select! {
        held = bucket.head(&proven.key) => held?,
        stopped = run.cancelled() => return Err(stopped),
        () = tokio::time::sleep(ANSWER_PATIENCE) => {
            let words = format!("no answer within {} s", ANSWER_PATIENCE.as_secs());
            return Err(bucket.refusal(Verb::Head, &proven.key, Cause::Timeout, &words));
        }
    };
    Ok(Answer::of(held.map(RemoteState::from).as_ref(), proven))
}

/// Looks at a file of a directory. A copy has the modification time of the file it was made from; one that has another was
/// there before or was written since, and its bytes are compared.
pub(super) fn ask_directory(directory: &Directory, proven: &RemoteObject, run: &Run<'_>) -> Result<Answer> {
    if directory.fingerprint(&proven.key)?.is_some_and(|now| now.same_file(&proven.source)) {
        return Err(directory.is_the_recording(&proven.key));
    }
    let now = directory.head(&proven.key)?.map(RemoteState::from);
    let answer = Answer::of(now.as_ref(), proven);
    if matches!(answer, Answer::Differs(_)) {
        return Ok(answer);
    }
    if now.is_some_and(|now| now.modified_ms != proven.source.mtime_ms())
        && let Some(words) = verify::read_directory(directory, proven, run)?
    {
        return Ok(Answer::Differs(Difference { words, is_missing: false, when_read: true }));
    }
    Ok(Answer::AsProven { beyond_size: true })
}
