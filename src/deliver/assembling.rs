//! An object put together inside its bucket: new bytes in front, ranges of another object behind them, which the store copies itself.
//!
//! ```text
//! part 1   the header, and so much of the media as fills the least part   sent
//! part 2…  ranges of the object                                           copied by the store (S3 UploadPartCopy)
//! ```
//!
//! Every part is asked for under the condition that the object is still the one that was read. The new object appears whole with the
//! last request, and never in the place of another one. An upload that a killed process noted and left under the same key is aborted first.
//!
//! It must not be told where the bytes belong; whoever plans the ranges compares what came of it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::PartId;
use object_store::{PutMultipartOptions, PutPayload};
use serde_json::Value;

use super::ChecksumMode;
use super::attributes::attributes;
use super::bucket::{Bucket, key_of};
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::ledger::Ledger;
use super::multipart::abort;
use super::objects::{SeenObject, bucket_of, seen};
use super::reading::{PinnedObject, read};
use super::target::{Target, Targets};
use super::uplink::CompletionHeaders;
use super::wire::CopiedPart;
use crate::fault::{Class, Fault};
use crate::recording::Asset;

/// The least part but for the last (Amazon S3, "multipart upload limits").
pub const LEAST_PART_BYTES: u64 = 5 << 20;
/// What the store copies with one request; it may take up to 5 GiB, and answers sooner for less.
const COPY_BYTES: u64 = 512 << 20;
/// Most parts of an upload.
const MOST_PARTS: u64 = 10_000;
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
    /// The store does not copy ranges.
    NotSupported,
}

/// A part of the new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssemblyPart {
    /// Read here and sent.
    Sent {
        /// Bytes of the header.
        header: Range<usize>,
        /// Ranges of the source behind them.
        ranges: Vec<Range<u64>>,
    },
    /// Copied by the store.
    Copied(Range<u64>),
}

impl AssemblyPart {
    /// Bytes of it that go up.
    pub fn sent_bytes(&self) -> u64 {
        match self {
            Self::Sent { header, ranges } => header.len() as u64 + lengths(ranges),
            Self::Copied(_) => 0,
        }
    }

    /// Bytes of it that come down before.
    pub fn read_bytes(&self) -> u64 {
        match self {
            Self::Sent { ranges, .. } => lengths(ranges),
            Self::Copied(_) => 0,
        }
    }
}

fn lengths(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// Cuts a new object into parts; `None` where it would be too many. Pure.
pub fn parts_of(header_bytes: usize, ranges: &[Range<u64>]) -> Option<Vec<AssemblyPart>> {
    let total = header_bytes as u64 + lengths(ranges);
    let copy_bytes = COPY_BYTES.max(total.div_ceil(MOST_PARTS - 10));
    let (mut parts, mut sent, mut sent_bytes) = (Vec::new(), (0..header_bytes, Vec::new()), header_bytes as u64);
    let mut ranges = ranges.iter().filter(|range| range.start < range.end).cloned().peekable();
    while let Some(mut range) = ranges.next() {
        let is_last = ranges.peek().is_none();
        if sent_bytes > 0 && sent_bytes < LEAST_PART_BYTES {
            let taken = (LEAST_PART_BYTES - sent_bytes).min(range.end - range.start);
            sent.1.push(range.start..range.start + taken);
            (sent_bytes, range.start) = (sent_bytes + taken, range.start + taken);
        }
        // What is too short to be copied is sent, unless it is the last part.
        if range.start < range.end && !is_last && range.end - range.start < LEAST_PART_BYTES {
            sent_bytes += range.end - range.start;
            sent.1.push(range.clone());
            range.start = range.end;
        }
        if range.start == range.end {
            continue;
        }
        if sent_bytes > 0 {
            parts.push(AssemblyPart::Sent { header: sent.0, ranges: sent.1 });
            (sent, sent_bytes) = ((0..0, Vec::new()), 0);
        }
        parts.extend(evenly(&range, copy_bytes).map(AssemblyPart::Copied));
    }
    if sent_bytes > 0 {
        parts.push(AssemblyPart::Sent { header: sent.0, ranges: sent.1 });
    }
    (!parts.is_empty() && parts.len() as u64 <= MOST_PARTS).then_some(parts)
}

/// A range in pieces of about the same length: none of them is shorter than half of the longest one allowed, if there are several.
fn evenly(range: &Range<u64>, most: u64) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = *range;
    let count = (end - start).div_ceil(most).max(1);
    let step = (end - start).div_ceil(count);
    (0..count).map(move |n| start + n * step..(start + (n + 1) * step).min(end)).filter(|piece| piece.start < piece.end)
}

impl Targets {
    /// Whether a target's store copies ranges of its objects by itself, as far as its kind tells.
    pub fn copies_ranges(&self, target: &str) -> Result<bool> {
        let backend = &bucket_of(self.find(target)?)?.backend;
        // The SHA-256 of a part that was copied is not known here, and S3 wants it at the end.
        Ok(backend.provider == Provider::S3 && backend.wire.is_some() && backend.checksum != ChecksumMode::Sha256)
    }

    /// Puts an object together in the bucket of its source.
    pub fn assemble(&self, assembly: &Assembly<'_>) -> Result<Assembled> {
        let target = self.find(&assembly.source.target)?;
        let bucket = bucket_of(target)?;
        self.network.until_stopped(assemble(target, bucket, assembly))
    }
}

async fn assemble(target: &Target, bucket: &Bucket, assembly: &Assembly<'_>) -> Result<Assembled> {
    let Some(parts) = parts_of(assembly.header.len(), assembly.ranges) else { return Ok(Assembled::NotSupported) };
    let row = row(&bucket.target, assembly.key);
    abort_left_over(bucket, assembly, &row).await?;
    let backend = &bucket.backend;
    let options = PutMultipartOptions {
        attributes: attributes(&target.options, backend.provider, assembly.asset, assembly.key),
        tags: backend.tags.clone(),
        ..PutMultipartOptions::default()
    };
    let key = key_of(assembly.key);
    let create = backend.begin.create_multipart_opts(&key, options);
    let id = bucket.call(Verb::Put, assembly.key, create).await?;
    assembly.ledger.put(&row, &Value::from(id.as_str())).map_err(DeliverError::Ledger)?;
    let at_once = target.options.at_once();
    let put = parts.iter().enumerate().map(|(index, part)| put_part(bucket, assembly, &id, index, part));
    let put: Result<Vec<_>> = futures::stream::iter(put).buffered(at_once).try_collect().await;
    let ended = match put.map(|ids| ids.into_iter().collect::<Option<Vec<_>>>()) {
        Ok(Some(ids)) => complete(bucket, assembly, &id, ids).await,
        Ok(None) => Ok(Assembled::SourceChanged),
        Err(error) if error.cause() == Some(&Cause::NotSupported) => Ok(Assembled::NotSupported),
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
    let Some(wire) = &bucket.backend.wire else {
        return Err(bucket.refusal(Verb::Put, assembly.key, Cause::NotSupported, "no copies of ranges"));
    };
    let (source, etag) = (&*assembly.source.key, assembly.source.etag.as_deref());
    let mut tries = 0;
    loop {
        let (number, range) = (index + 1, range.clone());
        let part = CopiedPart { key: assembly.key, upload_id: id, number, source, range, etag };
        tries += 1;
        match bucket.call(Verb::Put, assembly.key, wire.copy_part(&part)).await {
            Ok(content_id) => return Ok(Some(PartId { content_id })),
            // The condition is on the source: nothing else of this request has one.
            Err(error) if error.cause() == Some(&Cause::Taken) => return Ok(None),
            Err(error) if error.class() == Class::Transient && tries < COPY_TRIES => {
                tokio::time::sleep(COPY_AGAIN_AFTER * tries).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Ends the upload unless the key was taken meanwhile. A lost answer is no failure yet: a look at the key tells.
async fn complete(bucket: &Bucket, assembly: &Assembly<'_>, id: &str, parts: Vec<PartId>) -> Result<Assembled> {
    let here = |held: Option<SeenObject>| {
        let is_it = |held: &SeenObject| held.object.size_bytes == size_of(assembly) && held.is_of(&assembly.asset.id);
        held.map(|held| if is_it(&held) { Assembled::Here(held) } else { Assembled::Taken })
    };
    // Some stores know the condition of a put and not that of the end of an upload.
    if look(bucket, assembly.key).await?.is_some() {
        return Ok(Assembled::Taken);
    }
    let (key, id) = (key_of(assembly.key), id.to_owned());
    let end = |is_create_only| {
        let told = CompletionHeaders { is_create_only, ..CompletionHeaders::default() };
        let ending = bucket.backend.parts.complete_multipart(&key, &id, parts.clone());
        bucket.call(Verb::Put, assembly.key, told.around(ending))
    };
    let ended = match end(true).await {
        Err(error) if error.cause() == Some(&Cause::NotSupported) => end(false).await,
        other => other,
    };
    match (here(look(bucket, assembly.key).await?), ended) {
        (Some(found), _) => Ok(found),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => {
            let words = "the store acknowledged the object and does not report it";
            Err(bucket.refusal(Verb::Head, assembly.key, Cause::ServerError, words))
        }
    }
}

fn size_of(assembly: &Assembly<'_>) -> u64 {
    assembly.header.len() as u64 + lengths(assembly.ranges)
}

async fn look(bucket: &Bucket, key: &str) -> Result<Option<SeenObject>> {
    Ok(bucket.head(key).await?.map(|held| seen(bucket, key, held)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::single_range_in_vec_init, reason = "ranges of a file")]

    use super::super::attributes::header_text;
    use super::*;

    const MIB: u64 = 1 << 20;

    /// What the parts hold, one after the other: bytes of the header, ranges of the source.
    fn joined(parts: &[AssemblyPart]) -> (usize, Vec<Range<u64>>) {
        let (mut header, mut ranges) = (0, Vec::<Range<u64>>::new());
        let all = parts.iter().flat_map(|part| match part {
            AssemblyPart::Sent { header: of, ranges } => {
                header += of.len();
                ranges.clone()
            }
            AssemblyPart::Copied(range) => vec![range.clone()],
        });
        for range in all.collect::<Vec<_>>() {
            match ranges.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => ranges.push(range),
            }
        }
        (header, ranges)
    }

    #[test]
    fn parts_hold_everything_once_and_only_the_last_is_short() {
        let gib = 1024 * MIB;
        let cases: [(u64, Vec<Range<u64>>); 8] = [
            (100, vec![32..2 * gib]),
            (6 * MIB, vec![32..2 * gib, 2 * gib + 500..2 * gib + 700]),
            (MIB, vec![0..MIB, 2 * MIB..3 * MIB, 5 * MIB..40 * MIB, 41 * MIB..41 * MIB + 1]),
            (MIB, vec![0..3 * MIB]),
            (0, vec![0..3 * MIB]),
            (0, vec![0..513 * MIB]),
            (10, vec![0..20 * MIB, 30 * MIB..31 * MIB, 40 * MIB..60 * MIB]),
            (10, vec![0..5 * MIB - 10, 6 * MIB..6 * MIB + 5]),
        ];
        for (header, ranges) in cases {
            let header = usize::try_from(header).unwrap();
            let parts = parts_of(header, &ranges).unwrap();
            let (found, there) = joined(&parts);
            assert_eq!(found, header);
            let (_, whole) = joined(&ranges.iter().cloned().map(AssemblyPart::Copied).collect::<Vec<_>>());
            assert_eq!(there, whole, "{parts:?}");
            let len = |part: &AssemblyPart| match part {
                AssemblyPart::Copied(range) => range.end - range.start,
                sent @ AssemblyPart::Sent { .. } => sent.sent_bytes(),
            };
            let (_, but_last) = parts.split_last().unwrap();
            assert!(but_last.iter().all(|part| (LEAST_PART_BYTES..=5 * gib).contains(&len(part))), "{parts:?}");
            let sent: u64 = parts.iter().map(AssemblyPart::sent_bytes).sum();
            assert!(sent <= (header as u64).max(LEAST_PART_BYTES) + 8 * MIB, "{sent}");
        }
        let sent: u64 = parts_of(1 << 20, &[32..2 * gib]).unwrap().iter().map(AssemblyPart::sent_bytes).sum();
        assert_eq!(sent, LEAST_PART_BYTES);
    }

    #[test]
    fn an_asset_is_told_by_its_id_as_it_stands_in_headers() {
        let object = PinnedObject { target: "t".into(), key: "k".into(), size_bytes: 1, etag: None, modified_ms: 0 };
        let held = SeenObject { object, asset_id: Some(header_text("ü")) };
        assert!(held.is_of("ü") && !held.is_of("u"));
    }

    #[test]
    fn more_than_fits_into_an_upload_is_left_out() {
        assert!(parts_of(1, &[0..u64::from(u32::MAX) * (4 << 10)]).is_some_and(|parts| parts.len() <= 10_000));
        let many: Vec<_> = (0..20_000_u64).map(|n| n * 20 * MIB..n * 20 * MIB + 6 * MIB).collect();
        assert_eq!(parts_of(1, &many), None);
    }
}
