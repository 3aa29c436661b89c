//! A store whose every word was wrong is on trial: no further recording is sent to it before it tells the truth of a small object.
//!
//! The recording by which it was found out is tried itself; it is not stored again before its copies are gone.

use serde_json::{Value, json};

use super::bucket::Bucket;
use super::checksum::{ChecksumComparison, ChecksumHasher, compare};
use super::error::{DeliverError, Result};
use super::tags::PROBE_BYTES;
use super::transfer::UploadContext;
use super::upload::OURS_MAX;

impl Bucket {
    fn trial_row(&self) -> String {
        format!("untrusted/{}/store", self.target)
    }

    /// Notes by which asset the store was found out.
    pub fn note_untrusted(&self, asset_id: &str, key: &str, ctx: &UploadContext<'_>) -> Result<()> {
        let noted = json!({ "place": self.tags.place(), "asset": asset_id, "key": key });
        ctx.ledger.put(&self.trial_row(), &noted).map_err(DeliverError::Ledger)
    }

    /// The store reports what was sent.
    pub fn end_trial(&self, ctx: &UploadContext<'_>) -> Result<()> {
        ctx.ledger.remove(&self.trial_row()).map_err(DeliverError::Ledger)
    }

    /// Whether this asset is the one by which the store was found out. An error for every other while the store is wrong about a
    /// small object, too.
    pub async fn is_on_trial(&self, asset_id: &str, ctx: &UploadContext<'_>) -> Result<bool> {
        let rows = ctx.ledger.rows(&self.trial_row()).map_err(DeliverError::Ledger)?;
        let is_of_this = |noted: &&Value| noted["place"] == self.tags.place();
        let Some(noted) = rows.iter().map(|(_, noted)| noted).find(is_of_this) else { return Ok(false) };
        if noted["asset"] == asset_id {
            return Ok(true);
        }
        let tells = tokio::select! {
            stopped = ctx.cancelled() => return Err(stopped),
            tells = self.tells_the_truth(ctx) => tells?,
        };
        if tells {
            return self.end_trial(ctx).map(|()| false);
        }
        let key = noted["key"].as_str().unwrap_or_default().to_owned();
        Err(DeliverError::Untrusted { target: self.target.clone(), key, stored: OURS_MAX })
    }

    /// Whether an object of ours is reported as what was sent.
    async fn tells_the_truth(&self, ctx: &UploadContext<'_>) -> Result<bool> {
        let key = self.tags.probe_key();
        self.put_probe(&key, false).await?;
        let held = self.head(&key).await;
        self.remove_probe(&key).await;
        let Some(held) = held?.filter(|held| held.size_bytes == PROBE_BYTES.len() as u64) else { return Ok(false) };
        let Some(report) = held.reported else { return Ok(true) };
        let mut hasher = ChecksumHasher::for_report(&report);
        hasher.update(PROBE_BYTES);
        let sums = hasher.finish(held.size_bytes);
        let differs = matches!(compare(&sums, Some(&report)), ChecksumComparison::Differs { .. });
        Ok(!differs || self.distrusts(&report, ctx.ledger).await?)
    }
}
