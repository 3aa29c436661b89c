//! Objects that are no deliveries of ours: lists them page by page, looks at one, removes one only as it was seen.
//!
//! Nothing here keeps more than a page. A directory as a target has no objects in this sense; it is scanned like any directory.

use std::borrow::Cow;

use object_store::list::PaginatedListOptions;
use object_store::path::Path as Key;

use super::attributes::header_text;
use super::bucket::{Bucket, StoredObject, key_of};
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::location::below;
use super::raw_listing::{RawObject, RawQuery};
use super::reading::PinnedObject;
use super::target::{Target, TargetStore, Targets};

/// A page of a listing.
#[derive(Debug, Default)]
pub struct ObjectPage {
    /// The objects, in the order of the store.
    pub objects: Vec<PinnedObject>,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<String>,
}

/// An object as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenObject {
    /// What ranges of it are read from.
    pub object: PinnedObject,
    /// The asset that it says it belongs to.
    pub asset_id: Option<String>,
}

impl PinnedObject {
    /// Whether it can be asked for by its key: one with an empty part, `.` or `..` would be that of another object.
    pub fn is_addressable(&self) -> bool {
        Key::parse(&self.key).is_ok_and(|key| key.as_ref() == self.key)
    }
}

impl SeenObject {
    /// Whether it says that it was made for an asset.
    pub fn is_of(&self, asset_id: &str) -> bool {
        self.asset_id.as_deref() == Some(&*header_text(asset_id))
    }
}

/// Objects of a page, as far as the store goes by that.
const PAGE_OBJECTS: usize = 1000;

impl Targets {
    /// Prefix of every key of a target, without slashes at its ends.
    pub fn prefix_of(&self, target: &str) -> Result<&str> {
        Ok(self.find(target)?.place.prefix())
    }

    /// The address of an object of a target.
    pub fn url_of(&self, target: &str, key: &str) -> Result<String> {
        Ok(self.find(target)?.place.url_of(key))
    }

    /// One page of the objects below a directory of a target's prefix; `page` is what the page before ended with.
    pub fn objects(&self, target: &str, directory: &str, page: Option<String>) -> Result<ObjectPage> {
        self.page(target, directory, page, None)
    }

    /// The same without what lies in directories below it.
    pub fn objects_in(&self, target: &str, directory: &str, page: Option<String>) -> Result<ObjectPage> {
        self.page(target, directory, page, Some("/".into()))
    }

    fn page(
        &self,
        target: &str,
        directory: &str,
        page_token: Option<String>,
        delimiter: Option<Cow<'static, str>>,
    ) -> Result<ObjectPage> {
        let found = self.find(target)?;
        let bucket = bucket_of(found)?;
        let prefix = below(found.place.prefix(), directory.trim_matches('/'));
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let max_keys = Some(PAGE_OBJECTS);
        let options = PaginatedListOptions { max_keys, page_token, delimiter, ..PaginatedListOptions::default() };
        self.network.until_stopped(list(bucket, &prefix, options))
    }

    /// What stands under a key of a target's bucket.
    pub fn look_at(&self, target: &str, key: &str) -> Result<Option<SeenObject>> {
        let bucket = bucket_of(self.find(target)?)?;
        Ok(self.network.until_stopped(bucket.head(key))?.map(|held| seen(bucket, key, held)))
    }

    /// Removes an object if it is still the one that was seen; one that was written since is left as it is. A store that does not know the condition is asked right before.
    pub fn remove_as_seen(&self, object: &PinnedObject) -> Result<()> {
        let bucket = bucket_of(self.find(&object.target)?)?;
        self.network.until_stopped(remove(bucket, object))
    }
}

pub(super) fn bucket_of(target: &Target) -> Result<&Bucket> {
    match &target.store {
        TargetStore::Bucket(bucket) => Ok(bucket),
        TargetStore::Directory(_) => {
            let advice = "Write s3://bucket/prefix, az://container/prefix or gs://bucket/prefix.";
            Err(DeliverError::configuration(&target.options.name, "it is a directory, not a bucket", advice))
        }
    }
}

pub(super) fn seen(bucket: &Bucket, key: &str, held: StoredObject) -> SeenObject {
    let object = PinnedObject {
        target: bucket.target.clone(),
        key: key.to_owned(),
        size_bytes: held.size_bytes,
        etag: held.etag,
        modified_ms: held.modified_ms,
    };
    SeenObject { object, asset_id: held.asset_id }
}

async fn list(bucket: &Bucket, prefix: &str, options: PaginatedListOptions) -> Result<ObjectPage> {
    let Some(pages) = &bucket.backend.pages else {
        return Err(bucket.refusal(Verb::List, prefix, Cause::NotSupported, "it cannot be listed page by page"));
    };
    let prefix_or_all = (!prefix.is_empty()).then_some(prefix);
    let (delimiter, token) = (options.delimiter.clone(), options.page_token.clone());
    let listed = async {
        match pages.list_paginated(prefix_or_all, options).await {
            Err(object_store::Error::InvalidPath { .. }) => Ok(None),
            listed => listed.map(Some),
        }
    };
    let Some(found) = bucket.call(Verb::List, prefix, listed).await? else {
        let (delimiter, token) = (delimiter.as_deref(), token.as_deref());
        return list_raw(bucket, RawQuery { prefix, delimiter, token, most: PAGE_OBJECTS }).await;
    };
    let objects = found.result.objects.into_iter().map(|meta| PinnedObject {
        target: bucket.target.clone(),
        key: meta.location.to_string(),
        size_bytes: meta.size,
        etag: meta.e_tag.map(quoted),
        modified_ms: meta.last_modified.timestamp_millis(),
    });
    Ok(ObjectPage { objects: objects.collect(), next: found.page_token })
}

/// The same page where one of its keys cannot be named, with all of its keys.
async fn list_raw(bucket: &Bucket, query: RawQuery<'_>) -> Result<ObjectPage> {
    let Some(wire) = &bucket.backend.wire else {
        let words = "a key there has an empty part, `.` or `..` between slashes, and cannot be named";
        return Err(bucket.refusal(Verb::List, query.prefix, Cause::NotSupported, words));
    };
    let (found, next) = bucket.call(Verb::List, query.prefix, wire.raw_page(query)).await?;
    let object = |raw: RawObject| PinnedObject {
        target: bucket.target.clone(),
        key: raw.key,
        size_bytes: raw.size_bytes,
        etag: raw.etag.map(quoted),
        modified_ms: raw.modified_ms,
    };
    Ok(ObjectPage { objects: found.into_iter().map(object).collect(), next })
}

/// Azure lists entity tags without the quotation marks that it answers and wants in headers (RFC 9110 §8.8.3).
fn quoted(etag: String) -> String {
    if etag.ends_with('"') { etag } else { format!("\"{etag}\"") }
}

/// Whether an object is the one that was seen.
pub(super) fn is_same(held: &StoredObject, object: &PinnedObject) -> bool {
    held.size_bytes == object.size_bytes
        && match (&held.etag, &object.etag) {
            (Some(now), Some(then)) => now == then,
            _ => held.modified_ms == object.modified_ms,
        }
}

/// Asks the store to remove an object unless it is another one by now; `None` if it cannot be asked that.
async fn remove_matching(bucket: &Bucket, object: &PinnedObject, generation: Option<&str>) -> Option<Result<()>> {
    let (backend, key, etag) = (&bucket.backend, &object.key, object.etag.as_deref());
    Some(match (backend.provider, &backend.wire, &backend.blocks) {
        (Provider::S3, Some(wire), _) => bucket.call(Verb::Delete, key, wire.delete_matching(key, etag?)).await,
        (Provider::Gcs, Some(wire), _) => {
            bucket.call(Verb::Delete, key, wire.delete_generation(key, generation?)).await
        }
        (Provider::Azure, _, Some(blocks)) => bucket.call(Verb::Delete, key, blocks.delete_matching(key, etag?)).await,
        _ => return None,
    })
}

pub(super) async fn remove(bucket: &Bucket, object: &PinnedObject) -> Result<()> {
    let Some(held) = bucket.head(&object.key).await? else { return Ok(()) };
    if !is_same(&held, object) {
        return Ok(());
    }
    if let Some(removed) = remove_matching(bucket, object, held.version.as_deref()).await {
        match removed.as_ref().map_err(DeliverError::cause) {
            // Gone already, or another one by now.
            Err(Some(Cause::NoSuchObject | Cause::Taken)) => return Ok(()),
            // It does not know the condition.
            Err(Some(Cause::NotSupported)) => {}
            Ok(()) | Err(_) => return removed,
        }
    }
    let path = key_of(&object.key);
    tracing::debug!(target = %bucket.target, key = %path, "the store knows no conditional delete");
    bucket.delete(&object.key).await
}
