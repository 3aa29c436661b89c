//! An object put together by Google, which concatenates whole objects: a new header, and the whole original behind it.
//!
//! ```text
//! .aftercast-made….header   the new header, an object for as long as it takes   sent
//! x_1.mp4                   the header and the original                         put together by the store (`compose`)
//! ```
//!
//! Both are named with their generations: of another one nothing is made. The new object appears whole, and never in the place of
//! another one. The store says its CRC-32C, which follows from those of the header and of the original: every byte is proven without
//! being read.
//!
//! The header's object has a name by which any process knows it again. What a killed one left is replaced and removed by the next run
//! over the same original, and else by whoever lists it ([`is_composed_header`]).

use bytes::Bytes;
use object_store::{Attribute, Attributes, PutOptions, PutPayload};
use serde_json::Value;

use super::ChecksumMode;
use super::assembling::{Assembled, Assembly, copied, size_of, told_by};
use super::attributes::{ASSET_ID, attributes, compose_headers, header_text, metadata_name};
use super::bucket::{Bucket, StoredObject, key_of};
use super::checksum::{ChecksumComparison, PartSums, ReportedChecksum, combine, compare};
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::ledger::Ledger;
use super::location::below;
use super::objects::{bucket_of, is_same, remove, seen};
use super::target::{Target, Targets};
use super::wire::{BucketClient, Component};
use crate::durable::PARTIAL_PREFIX;

/// What the name of a header's object ends with; no recording has it.
const HEADER_SUFFIX: &str = ".header";

/// Whether a key is that of an object that holds a new header until it is part of another one.
pub fn is_composed_header(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    let id = name.strip_prefix(PARTIAL_PREFIX).and_then(|rest| rest.strip_suffix(HEADER_SUFFIX));
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The key of the object that holds the header of an assembly: beside it, and the same in every process.
fn header_key(assembly: &Assembly<'_>) -> String {
    let directory = assembly.key.rsplit_once('/').map_or("", |(directory, _)| directory);
    below(directory, &format!("{PARTIAL_PREFIX}{}{HEADER_SUFFIX}", assembly.asset.id))
}

/// The row of a header's object that may be left.
fn row(target: &str, asset_id: &str) -> String {
    format!("header/{target}/{asset_id}")
}

impl Targets {
    /// Removes the object with a header that an earlier run noted for an asset and left.
    pub fn clear_header(&self, target: &str, asset_id: &str, ledger: &dyn Ledger) -> Result<()> {
        let row = row(target, asset_id);
        for (_, noted) in ledger.rows(&row).map_err(DeliverError::Ledger)? {
            if let Some(key) = noted.as_str().filter(|key| is_composed_header(key)) {
                let bucket = bucket_of(self.find(target)?)?;
                self.network.until_stopped(bucket.delete(key))?;
            }
            ledger.remove(&row).map_err(DeliverError::Ledger)?;
        }
        Ok(())
    }
}

/// An object of which another one is made.
struct Part {
    key: String,
    generation: String,
}

/// Puts an object together of a header and the whole source.
pub(super) async fn compose(target: &Target, bucket: &Bucket, assembly: &Assembly<'_>) -> Result<Assembled> {
    let (source, ledger) = (assembly.source, assembly.ledger);
    let is_whole = matches!(assembly.ranges, [range] if *range == (0..source.size_bytes));
    let Some(wire) = bucket.backend.wire.as_deref().filter(|_| is_whole) else { return Ok(Assembled::NotSupported) };
    let held = bucket.head(&source.key).await?.filter(|held| is_same(held, source));
    let Some(held) = held else { return Ok(Assembled::SourceChanged) };
    let Some(generation) = held.version.clone() else { return Ok(Assembled::NotSupported) };
    let original = Part { key: source.key.clone(), generation };
    if assembly.header.is_empty() {
        return put_together(target, (bucket, wire), assembly, (&held, &[original])).await;
    }
    let (key, row) = (header_key(assembly), row(&bucket.target, &assembly.asset.id));
    ledger.put(&row, &Value::from(key.as_str())).map_err(DeliverError::Ledger)?;
    let parts = [put_header(bucket, assembly, &key, held.storage_class.as_deref()).await?, original];
    let composed = put_together(target, (bucket, wire), assembly, (&held, &parts)).await;
    // What cannot be removed now is removed by whoever lists it.
    match bucket.call(Verb::Delete, &key, wire.delete_generation(&key, &parts[0].generation)).await {
        Err(error) if error.cause() != Some(&Cause::NoSuchObject) => {
            tracing::warn!(target = %bucket.target, key, error = crate::fault::chain(&error), "temporary header not removed");
        }
        _ => ledger.remove(&row).map_err(DeliverError::Ledger)?,
    }
    composed
}

/// Sends the header as an object of the storage class of the source: the store puts together only what is of one class.
async fn put_header(bucket: &Bucket, assembly: &Assembly<'_>, key: &str, class: Option<&str>) -> Result<Part> {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, "application/octet-stream".into());
    attributes.insert(metadata_name(Provider::Gcs, ASSET_ID), header_text(&assembly.asset.id).into());
    if let Some(class) = class {
        attributes.insert(Attribute::StorageClass, class.to_owned().into());
    }
    let options = PutOptions { attributes, ..PutOptions::default() };
    let (path, payload) = (key_of(key), PutPayload::from(Bytes::clone(assembly.header)));
    let put = bucket.call(Verb::Put, key, bucket.backend.put.put_opts(&path, payload, options)).await?;
    let words = "the store told no generation of a new object";
    let generation = put.version.ok_or_else(|| bucket.refusal(Verb::Put, key, Cause::NotSupported, words))?;
    Ok(Part { key: key.to_owned(), generation })
}

async fn put_together(
    target: &Target,
    (bucket, wire): (&Bucket, &BucketClient),
    assembly: &Assembly<'_>,
    (source, parts): (&StoredObject, &[Part]),
) -> Result<Assembled> {
    let attributes = attributes(&target.options, Provider::Gcs, assembly.asset, assembly.key);
    let headers = compose_headers(&attributes);
    let components: Vec<_> =
        parts.iter().map(|part| Component { key: &part.key, generation: &part.generation }).collect();
    let ended = copied(async || {
        match bucket.call(Verb::Put, assembly.key, wire.compose(assembly.key, &components, &headers)).await {
            // It does not pass.
            Err(error) if is_of_parts(&error) => Ok(Err(error)),
            ended => ended.map(Ok),
        }
    });
    let ended = ended.await.and_then(|ended| ended);
    let held = bucket.head(assembly.key).await?;
    match (held, ended) {
        (None, Err(error)) if is_of_parts(&error) => part_changed(bucket, assembly).await,
        (Some(held), Ok(())) if is_of(&held, assembly) && held.size_bytes != size_of(assembly) => {
            remove(bucket, &seen(bucket, assembly.key, held).object).await?;
            Err(bucket.refusal(
                Verb::Put,
                assembly.key,
                Cause::NotSupported,
                "it stored the request instead of objects",
            ))
        }
        (Some(held), ended) => {
            if is_of(&held, assembly)
                && let Some(words) = differs(assembly, source, &held)
            {
                if ended.is_err() {
                    // Another process made it of the same original, in another way.
                    return Ok(Assembled::Taken);
                }
                remove(bucket, &seen(bucket, assembly.key, held).object).await?;
                return Ok(Assembled::Differs(words));
            }
            told_by(bucket, assembly, Some(seen(bucket, assembly.key, held)), ended)
        }
        (None, ended) => told_by(bucket, assembly, None, ended),
    }
}

/// Whether a request failed for what it was to be made of: the key itself is free.
fn is_of_parts(error: &DeliverError) -> bool {
    matches!(error.cause(), Some(Cause::Taken | Cause::NoSuchObject))
}

/// Which part is another one now.
async fn part_changed(bucket: &Bucket, assembly: &Assembly<'_>) -> Result<Assembled> {
    if bucket.head(&assembly.source.key).await?.is_some_and(|held| is_same(&held, assembly.source)) {
        let words = "another process replaced or removed the new header meanwhile";
        return Err(bucket.refusal(Verb::Put, assembly.key, Cause::ServerError, words));
    }
    Ok(Assembled::SourceChanged)
}

fn is_of(held: &StoredObject, assembly: &Assembly<'_>) -> bool {
    held.is_of(&header_text(&assembly.asset.id))
}

/// What the checksum of the new object should be and is, if it is another one.
fn differs(assembly: &Assembly<'_>, source: &StoredObject, held: &StoredObject) -> Option<String> {
    let of_source = match &source.reported {
        Some(ReportedChecksum::Crc32c(crc)) => PartSums::of_crc32c(crc)?,
        _ => return None,
    };
    let of_header = PartSums::of(Provider::Gcs, ChecksumMode::Auto, assembly.header, None);
    let parts = [(assembly.header.len() as u64, &of_header), (source.size_bytes, &of_source)];
    match compare(&combine(parts.into_iter()), held.reported.as_ref()) {
        ChecksumComparison::Differs { ours, theirs } => Some(format!("{theirs} instead of {ours}")),
        ChecksumComparison::Same(_) | ChecksumComparison::NotComparable => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_header_is_known_by_its_name() {
        for key in [".aftercast-made0123.header", "a/b/.aftercast-made0123.header"] {
            assert!(is_composed_header(key), "{key}");
        }
        for key in
            ["x.header", ".aftercast-.header", ".aftercast-probe-tags", ".aftercast-a/b.header", "a/.aftercast-x.mp4"]
        {
            assert!(!is_composed_header(key), "{key}");
        }
    }
}
