//! An object put together inside its bucket: new bytes in front, ranges of another object behind them, which the store copies itself.
//!
//! ```text
//! part 1   the header; on S3 also so much of the media as fills the least part   sent
//! part 2…  ranges of the object     copied by the store (S3 UploadPartCopy, Azure Put Block From URL)
//! ```
//!
//! Every part is asked for under the condition that the object is still the one that was read. The new object appears whole with the
//! last request, and never in the place of another one. An upload that a killed process noted and left under the same key is aborted
//! first; blocks that Azure was not told to put together go by themselves after a week. Google has no such parts: see [`composing`](super::composing).
//!
//! It must not be told where the bytes belong; whoever plans the ranges compares what came of it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::PartId;
use object_store::{Attributes, PutPayload};
use serde_json::Value;

use super::assembly_parts::{AssemblyPart, ServerCopy, lengths};
use super::attributes::attributes;
use super::bucket::{Bucket, key_of};
use super::composing::compose;
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::ledger::Ledger;
use super::multipart::{abort, begin_options, end_headers};
use super::objects::{SeenObject, bucket_of, seen};
use super::reading::{PinnedObject, read};
use super::target::{Target, Targets};
use super::wire::CopiedPart;
use crate::fault::{Class, Fault};
use crate::recording::Asset;

/// A copy that failed in a way that passes is asked for again so often.
const COPY_TRIES: u32 = 3;
const COPY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// An object that is to be put together.
#[derive(Clone, Copy)]
pub struct Assembly<'a> {
    /// The object that ranges are copied from, as it was looked at.
    pub source: &'a PinnedObject,
    /// The new key, in the same bucket.
    pub key: &'a str,
    /// What comes first.
    pub header: &'a Bytes,
    /// What follows: byte ranges of the source.
    pub ranges: &'a [Range<u64>],
    /// What the new object says of itself.
    pub asset: &'a Asset,
    /// Where the upload is noted as long as it is under way.
    pub ledger: &'a dyn Ledger,
}

impl fmt::Debug for Assembly<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly").field("source", &self.source).field("key", &self.key).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assembled {
    /// It is there.
    Here(SeenObject),
    /// An object has the key already.
    Taken,
    /// The source is another object by now, or gone.
    SourceChanged,
    /// The store put other bytes together, which were removed; what it says of them.
    Differs(String),
    /// The store does not copy it.
    NotSupported,
}

impl Targets {
    /// What a target's store puts together by itself, as far as its kind tells.
    pub fn copies(&self, target: &str) -> Result<Option<ServerCopy>> {
        Ok(bucket_of(self.find(target)?)?.backend.copies())
    }

    /// Puts an object together in the bucket of its source.
    pub fn assemble(&self, assembly: &Assembly<'_>) -> Result<Assembled> {
        let target = self.find(&assembly.source.target)?;
        let bucket = bucket_of(target)?;
        self.network.until_stopped(async {
            let copies = bucket.backend.copies();
            let assembled = match copies {
                None => Ok(Assembled::NotSupported),
                Some(ServerCopy::Objects) => compose(target, bucket, assembly).await,
                Some(copies) => assemble(target, bucket, (assembly, copies)).await,
            };
            match assembled {
                Err(error) if is_refusal(&error, copies) => {
                    let (key, error) = (&assembly.source.key, crate::fault::chain(&error));
                    tracing::warn!(target = %bucket.target, key, error, "the store does not copy this object itself; it is downloaded");
                    Ok(Assembled::NotSupported)
                }
                assembled => assembled,
            }
        })
    }
}

/// Whether the store does not do it. Azure and Google have reasons without a code of their own: classes, encryption, kinds of accounts.
fn is_refusal(error: &DeliverError, copies: Option<ServerCopy>) -> bool {
    match error.cause() {
        Some(Cause::NotSupported) => true,
        Some(Cause::Other) => copies != Some(ServerCopy::Parts),
        _ => false,
    }
}

async fn assemble(
    target: &Target,
    bucket: &Bucket,
    (assembly, copies): (&Assembly<'_>, ServerCopy),
) -> Result<Assembled> {
    let Some(parts) = copies.parts_of(assembly.header.len(), assembly.ranges) else {
        return Ok(Assembled::NotSupported);
    };
    let row = row(&bucket.target, assembly.key);
    abort_left_over(bucket, assembly, &row).await?;
    let backend = &bucket.backend;
    let attributes = attributes(&target.options, backend.provider, assembly.asset, assembly.key);
    let key = key_of(assembly.key);
    let create = backend.begin.create_multipart_opts(&key, begin_options(backend, &attributes));
    let id = bucket.call(Verb::Put, assembly.key, create).await?;
    assembly.ledger.put(&row, &Value::from(id.as_str())).map_err(DeliverError::Ledger)?;
    let at_once = target.options.at_once();
    let put = parts.iter().enumerate().map(|(index, part)| put_part(bucket, assembly, &id, index, part));
    let put: Result<Vec<_>> = futures::stream::iter(put).buffered(at_once).try_collect().await;
    let ended = match put.map(|ids| ids.into_iter().collect::<Option<Vec<_>>>()) {
        Ok(Some(ids)) => complete(bucket, assembly, (&id, ids), &attributes).await,
        Ok(None) => Ok(Assembled::SourceChanged),
        Err(error) => Err(error),
    };
    // What cannot be aborted now is aborted before the next try.
    if matches!(ended, Ok(Assembled::Here(_))) || abort(bucket, assembly.key, &id).await.is_ok() {
        assembly.ledger.remove(&row).map_err(DeliverError::Ledger)?;
    }
    ended
}

/// The row of an upload that is under way under a key.
fn row(target: &str, key: &str) -> String {
    format!("assembly/{target}/{}", &blake3::hash(key.as_bytes()).to_hex()[..32])
}

/// Aborts what an earlier run has begun there and left. Uploads of others under the key, a recorder's say, are not ours to end.
async fn abort_left_over(bucket: &Bucket, assembly: &Assembly<'_>, row: &str) -> Result<()> {
    for (_, noted) in assembly.ledger.rows(row).map_err(DeliverError::Ledger)? {
        if let Some(id) = noted.as_str() {
            let _ = abort(bucket, assembly.key, id).await;
        }
    }
    assembly.ledger.remove(row).map_err(DeliverError::Ledger)
}

/// Sends a part or has it copied; `None` if the source is another object by now.
async fn put_part(
    bucket: &Bucket,
    assembly: &Assembly<'_>,
    id: &str,
    index: usize,
    part: &AssemblyPart,
) -> Result<Option<PartId>> {
    match part {
        AssemblyPart::Copied(range) => copy_part(bucket, assembly, id, index, range).await,
        AssemblyPart::Sent { header, ranges } => {
            let mut bytes = assembly.header.get(header.clone()).unwrap_or_default().to_vec();
            for range in ranges {
                match read(bucket, assembly.source, range.clone()).await? {
                    Some(read) => bytes.extend(read),
                    None => return Ok(None),
                }
            }
            let key = key_of(assembly.key);
            let id = id.to_owned();
            let put = bucket.backend.parts.put_part(&key, &id, index, PutPayload::from(bytes));
            bucket.call(Verb::Put, assembly.key, put).await.map(Some)
        }
    }
}

async fn copy_part(
    bucket: &Bucket,
    assembly: &Assembly<'_>,
    id: &str,
    index: usize,
    range: &Range<u64>,
) -> Result<Option<PartId>> {
    let (source, etag) = (&*assembly.source.key, assembly.source.etag.as_deref());
    let part = CopiedPart { key: assembly.key, upload_id: id, number: index + 1, source, range: range.clone(), etag };
    let copied = copied(async || match (&bucket.backend.blocks, &bucket.backend.wire) {
        (Some(blocks), _) => bucket.call(Verb::Put, assembly.key, blocks.copy_block(&part)).await,
        (None, Some(wire)) => bucket.call(Verb::Put, assembly.key, wire.copy_part(&part)).await,
        (None, None) => Err(bucket.refusal(Verb::Put, assembly.key, Cause::NotSupported, "no copies of ranges")),
    });
    match copied.await {
        Ok(content_id) => Ok(Some(PartId { content_id })),
        // The condition is on the source: nothing else of this request has one.
        Err(error) if error.cause() == Some(&Cause::Taken) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks the store for a copy; again if that failed in a way that passes.
pub(super) async fn copied<T>(ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match ask().await {
            Err(error) if error.class() == Class::Transient && tries < COPY_TRIES => {
                tokio::time::sleep(COPY_AGAIN_AFTER * tries).await;
            }
            ended => return ended,
        }
    }
}

/// Ends the upload unless the key was taken meanwhile. A lost answer is no failure yet: a look at the key tells.
async fn complete(
    bucket: &Bucket,
    assembly: &Assembly<'_>,
    (id, parts): (&str, Vec<PartId>),
    attributes: &Attributes,
) -> Result<Assembled> {
    let backend = &bucket.backend;
    // Some stores know the condition of a put and not that of the end of an upload.
    if backend.provider != Provider::Azure && look(bucket, assembly.key).await?.is_some() {
        return Ok(Assembled::Taken);
    }
    let (key, id) = (key_of(assembly.key), id.to_owned());
    let end = |is_create_only| {
        let ending = backend.parts.complete_multipart(&key, &id, parts.clone());
        bucket.call(Verb::Put, assembly.key, end_headers(backend, attributes, is_create_only).around(ending))
    };
    let ended = match end(true).await {
        // Where the key was not looked at, nothing is ended without the condition.
        Err(error) if error.cause() == Some(&Cause::NotSupported) && backend.provider != Provider::Azure => {
            end(false).await
        }
        other => other,
    };
    told_by(bucket, assembly, look(bucket, assembly.key).await?, ended.map(drop))
}

/// What came of it: what stands under the key tells more than the answer to the last request.
pub(super) fn told_by(
    bucket: &Bucket,
    assembly: &Assembly<'_>,
    held: Option<SeenObject>,
    ended: Result<()>,
) -> Result<Assembled> {
    let is_it = |held: &SeenObject| held.object.size_bytes == size_of(assembly) && held.is_of(&assembly.asset.id);
    match (held, ended) {
        (Some(held), _) => Ok(if is_it(&held) { Assembled::Here(held) } else { Assembled::Taken }),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => {
            let words = "the store acknowledged the object and does not report it";
            Err(bucket.refusal(Verb::Head, assembly.key, Cause::ServerError, words))
        }
    }
}

pub(super) fn size_of(assembly: &Assembly<'_>) -> u64 {
    assembly.header.len() as u64 + lengths(assembly.ranges)
}

async fn look(bucket: &Bucket, key: &str) -> Result<Option<SeenObject>> {
    Ok(bucket.head(key).await?.map(|held| seen(bucket, key, held)))
}

#[cfg(test)]
mod tests {
    use super::super::attributes::header_text;
    use super::*;

    #[test]
    fn an_asset_is_told_by_its_id_as_it_stands_in_headers() {
        let object = PinnedObject { target: "t".into(), key: "k".into(), size_bytes: 1, etag: None, modified_ms: 0 };
        let held = SeenObject { object, asset_id: Some(header_text("ü")) };
        assert!(held.is_of("ü") && !held.is_of("u"));
    }
}
