//! Asks a store about an object right before its local file is freed: one short request, no download of the object.
//!
//! It must not wait for long: the local file stays while there is no answer, so nothing is lost by giving up.

use std::time::Duration;

use super::bucket::Bucket;
use super::diagnose::{Cause, Verb};
use super::directory::DirectoryTarget;
use super::error::Result;
use super::target::{Difference, RemoteState};
use super::transfer::UploadContext;
use super::verify;
use crate::recording::RemoteObject;

/// How long a store may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How often an object of ours that looks otherwise is looked at.
pub(super) const LOOKS_MAX: u32 = 4;

/// What a store says of an object now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofCheck {
    /// It is as its delivery proved it.
    AsProven {
        /// Whether a checksum, an entity tag or a version was compared, and not the size alone.
        beyond_size: bool,
    },
    /// It differs or is missing.
    Differs(Difference),
}

impl ProofCheck {
    pub(super) fn of(now: Option<&RemoteState>, proven: &RemoteObject) -> Self {
        match verify::difference(now, proven) {
            Some(words) => Self::Differs(Difference { words, is_missing: now.is_none(), when_read: false }),
            None => Self::AsProven { beyond_size: now.is_some_and(|now| now.compares_with(proven)) },
        }
    }
}

/// Asks a bucket, and gives up after [`ANSWER_PATIENCE`] or when the work is told to stop.
pub(super) async fn ask_bucket(bucket: &Bucket, proven: &RemoteObject, ctx: &UploadContext<'_>) -> Result<ProofCheck> {
    let deadline = tokio::time::Instant::now() + ANSWER_PATIENCE;
    Ok(ask(bucket, proven, ctx, deadline).await?.0)
}

/// The same, with the object as it is reported; its entity tag is left out if it is another one at every look.
pub(super) async fn look_in_bucket(
    bucket: &Bucket,
    proven: &RemoteObject,
    ctx: &UploadContext<'_>,
) -> Result<(ProofCheck, Option<RemoteState>)> {
    let deadline = tokio::time::Instant::now() + ANSWER_PATIENCE;
    let (answer, mut state) = ask(bucket, proven, ctx, deadline).await?;
    if let Some(state) = state.as_mut().filter(|state| state.etag != proven.etag) {
        let again = look(bucket, proven, ctx, deadline).await?;
        state.etag = state.etag.take().filter(|tag| again.is_some_and(|again| again.etag.as_ref() == Some(tag)));
    }
    Ok((answer, state))
}

async fn look(
    bucket: &Bucket,
    proven: &RemoteObject,
    ctx: &UploadContext<'_>,
    deadline: tokio::time::Instant,
) -> Result<Option<RemoteState>> {
    tokio::select! {
        held = bucket.head(&proven.key) => Ok(held?.map(RemoteState::from)),
        stopped = ctx.cancelled() => Err(stopped),
        () = tokio::time::sleep_until(deadline) => {
            let words = format!("no answer within {} s", ANSWER_PATIENCE.as_secs());
            Err(bucket.refusal(Verb::Head, &proven.key, Cause::Timeout, &words))
        }
    }
}

/// A store that errs once must not get everything a second time: what differs is looked at again before it counts.
async fn ask(
    bucket: &Bucket,
    proven: &RemoteObject,
    ctx: &UploadContext<'_>,
    deadline: tokio::time::Instant,
) -> Result<(ProofCheck, Option<RemoteState>)> {
    let mut now = look(bucket, proven, ctx, deadline).await?;
    for _ in 1..LOOKS_MAX {
        let answer = ProofCheck::of(now.as_ref(), proven);
        if matches!(answer, ProofCheck::AsProven { .. }) {
            return Ok((answer, now));
        }
        let again = look(bucket, proven, ctx, deadline).await?;
        if let (Some(now), Some(again)) = (&now, &again)
            && differs_by_tag_alone(now, proven)
            && differs_by_tag_alone(again, proven)
            && now.etag != again.etag
        {
            // Some gateways give an object another tag at every look; such a tag tells nothing.
            return Ok((ProofCheck::AsProven { beyond_size: false }, Some(again.clone())));
        }
        now = again;
    }
    Ok((ProofCheck::of(now.as_ref(), proven), now))
}

/// Whether it differs, and there is nothing but an entity tag to compare.
fn differs_by_tag_alone(now: &RemoteState, proven: &RemoteObject) -> bool {
    let of = |checksum: &Option<String>| checksum.as_deref().map(verify::algorithm).map(str::to_owned);
    let has_checksum = of(&now.checksum).is_some() && of(&now.checksum) == of(&proven.checksum);
    let differs = now.size_bytes == proven.size_bytes && now.etag.is_some() && proven.etag.is_some();
    differs && now.etag != proven.etag && !has_checksum
}

/// Looks at a file of a directory. A copy has the modification time of the file it was made from; one that has another was
/// there before or was written since, and its bytes are compared.
pub(super) fn ask_directory(
    directory: &DirectoryTarget,
    proven: &RemoteObject,
    ctx: &UploadContext<'_>,
) -> Result<ProofCheck> {
    if directory.fingerprint(&proven.key)?.is_some_and(|now| now.same_file(&proven.source)) {
        return Err(directory.is_the_recording(&proven.key));
    }
    let now = directory.head(&proven.key)?.map(RemoteState::from);
    let answer = ProofCheck::of(now.as_ref(), proven);
    if matches!(answer, ProofCheck::Differs(_)) {
        return Ok(answer);
    }
    if now.is_some_and(|now| now.modified_ms != proven.source.mtime_ms())
        && let Some(words) = verify::read_directory(directory, proven, ctx)?
    {
        return Ok(ProofCheck::Differs(Difference { words, is_missing: false, when_read: true }));
    }
    Ok(ProofCheck::AsProven { beyond_size: true })
}
