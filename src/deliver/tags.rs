//! Whether the entity tags of a bucket that look like an MD5 are one.
//!
//! Some gateways and appliances answer with a random number of the same form. So where a tag differs from what was sent, it is tried
//! with an object of our own whose bytes are read back: if they are what was sent and the tag is not their MD5, tags of that form
//! prove nothing there. That is remembered in the ledger. Nothing is tried at stores whose tags agree.

use md5::{Digest, Md5};
use object_store::{ObjectStoreExt, PutMultipartOptions, PutPayload};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::bucket::{Bucket, StoredObject, key_of};
use super::checksum::{ReportedChecksum, md5_of_parts, part_md5};
use super::diagnose::Verb;
use super::error::{DeliverError, Result};
use super::ledger::Ledger;
use super::location::{answered_for, below};
use super::transfer::UploadContext;
use crate::durable::PARTIAL_PREFIX;
use crate::fault::chain;

/// What is known of a bucket's tags.
#[derive(Debug, Default)]
pub(super) struct TagSupport {
    /// Endpoint, bucket and prefix: what the answer was found for.
    place: String,
    prefix: String,
    of_whole: Mutex<Option<bool>>,
    of_parts: Mutex<Option<bool>>,
}

pub(super) const PROBE_BYTES: &[u8] =
    b"aftercast tried whether entity tags are checksums here; this object can be deleted\n";

impl TagSupport {
    /// Of a prefix in the bucket that an endpoint and a URL name.
    pub fn of(endpoint: Option<&str>, url: &str, prefix: &str) -> Self {
        Self { place: answered_for(endpoint, url), prefix: prefix.to_owned(), ..Self::default() }
    }

    /// Which bucket the answers are of.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The same for every try, so that at most one is ever left where deleting is not allowed.
    pub fn probe_key(&self) -> String {
        below(&self.prefix, &format!("{PARTIAL_PREFIX}probe-tags"))
    }

    /// The form of a checksum that was read out of an entity tag.
    fn known_of(&self, report: &ReportedChecksum) -> Option<(&Mutex<Option<bool>>, &'static str)> {
        match report {
            ReportedChecksum::Md5(_) => Some((&self.of_whole, "whole")),
            ReportedChecksum::Md5OfParts(..) => Some((&self.of_parts, "parts")),
            _ => None,
        }
    }
}

impl Bucket {
    /// Whether a checksum of this form is known to be none here; asks nothing of the store.
    pub async fn distrusts(&self, report: &ReportedChecksum, ledger: &dyn Ledger) -> Result<bool> {
        let Some((known, form)) = self.tags.known_of(report) else { return Ok(false) };
        let mut known = known.lock().await;
        if known.is_none() {
            let row = self.row(form);
            let rows = ledger.rows(&row).map_err(DeliverError::Ledger)?;
            let is_of_this = |value: &Value| value["place"] == self.tags.place.as_str();
            *known = rows.iter().any(|(key, value)| *key == row && is_of_this(value)).then_some(false);
        }
        Ok(*known == Some(false))
    }

    /// Whether tags of any form are known to be no checksums here.
    pub async fn distrusts_any(&self, ledger: &dyn Ledger) -> Result<bool> {
        let (whole, parts) = (ReportedChecksum::Md5(String::new()), ReportedChecksum::Md5OfParts(String::new(), 0));
        Ok(self.distrusts(&whole, ledger).await? || self.distrusts(&parts, ledger).await?)
    }

    /// Whether a reported checksum that differs from what was sent is to be believed. Tried once; what could not be tried counts
    /// as believed, and is tried again.
    pub async fn believes(&self, report: &ReportedChecksum, ctx: &UploadContext<'_>) -> Result<bool> {
        if self.distrusts(report, ctx.ledger).await? {
            return Ok(false);
        }
        let Some((known, form)) = self.tags.known_of(report) else { return Ok(true) };
        let mut known = known.lock().await;
        if let Some(is_digest) = *known {
            return Ok(is_digest);
        }
        let tried = tokio::select! {
            stopped = ctx.cancelled() => return Err(stopped),
            tried = self.try_tags(matches!(report, ReportedChecksum::Md5OfParts(..))) => tried,
        };
        let found = tried.unwrap_or_else(|error| {
            tracing::debug!(target = %self.target, error = chain(&error), "entity tags not tested");
            None
        });
        if found == Some(false) {
            let value = json!({ "place": self.tags.place });
            ctx.ledger.put(&self.row(form), &value).map_err(DeliverError::Ledger)?;
            tracing::warn!(
                target_name = %self.target, form,
                "the store's entity tags look like MD5 checksums but are not, and are ignored; copies without \
                 another checksum free local files only with `accept_size_only`"
            );
        }
        *known = found;
        Ok(found != Some(false))
    }

    fn row(&self, form: &str) -> String {
        format!("tags/{}/{form}", self.target)
    }

    /// Stores an object and reads it back; `None` if its tag has another form.
    async fn try_tags(&self, in_parts: bool) -> Result<Option<bool>> {
        let key = self.tags.probe_key();
        self.put_probe(&key, in_parts).await?;
        let told = match self.head(&key).await? {
            Some(held) => self.is_told(&key, held).await,
            None => Ok(None),
        };
        self.remove_probe(&key).await;
        told
    }

    /// One that may not be removed stays: its key is the same at every try.
    pub(super) async fn remove_probe(&self, key: &str) {
        if let Err(error) = self.delete(key).await {
            tracing::debug!(target = %self.target, key, error = chain(&error), "probe object not removed");
        }
    }

    pub(super) async fn put_probe(&self, key: &str, in_parts: bool) -> Result<()> {
        let (path, payload) = (key_of(key), PutPayload::from_static(PROBE_BYTES));
        if !in_parts {
            return self.call(Verb::Put, key, self.backend.store.put(&path, payload)).await.map(drop);
        }
        let parts = &self.backend.parts;
        let put = async {
            let id = self.backend.begin.create_multipart_opts(&path, PutMultipartOptions::default()).await?;
            let part = parts.put_part(&path, &id, 0, payload).await?;
            parts.complete_multipart(&path, &id, vec![part]).await
        };
        self.call(Verb::Put, key, put).await.map(drop)
    }

    async fn is_told(&self, key: &str, held: StoredObject) -> Result<Option<bool>> {
        let is_digest = match held.reported {
            Some(ReportedChecksum::Md5(theirs)) => theirs == hex::encode(Md5::digest(PROBE_BYTES)),
            Some(ReportedChecksum::Md5OfParts(theirs, n)) => (theirs, n) == md5_of_parts(&[part_md5(PROBE_BYTES)]),
            _ => return Ok(None),
        };
        // Bytes that did not arrive as they were sent have another checksum rightly.
        let bytes = self.read(key, PROBE_BYTES.len()).await?;
        Ok((is_digest || bytes == PROBE_BYTES).then_some(is_digest))
    }
}
