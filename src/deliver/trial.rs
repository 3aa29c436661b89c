//! A store whose every word was wrong is on trial: no further recording is sent to it before it tells the truth of a small object.
//!
//! The recording by which it was found out is tried itself; it is not stored again before its copies are gone.

use serde_json::{Value, json};

use super::bucket::Bucket;
use super::checksum::{Comparison, Hasher, compare};
use super::error::{DeliverError, Result};
use super::tags::PROBE_BYTES;
use super::transfer::Run;
use super::upload::OURS_MAX;

impl Bucket {
    fn trial_row(&self) -> String {
        format!("untrusted/{}/store", self.target)
    }

    /// Notes by which asset the store was found out.
    pub fn note_untrusted(&self, asset_id: &str, key: &str, run: &Run<'_>) -> Result<()> {
        let noted = json!({ "place": self.tags.place(), "asset": asset_id, "key": key });
        run.ledger.put(&self.trial_row(), &noted).map_err(DeliverError::Ledger)
    }

    /// The store reports what was sent.
    pub fn end_trial(&self, run: &Run<'_>) -> Result<()> {
        run.ledger.remove(&self.trial_row()).map_err(DeliverError::Ledger)
    }

    /// Whether this asset is the one by which the store was found out. An error for every other while the store is wrong about a
    /// small object, too.
    pub async fn is_on_trial(&self, asset_id: &str, run: &Run<'_>) -> Result<bool> {
        let rows = run.ledger.rows(&self.trial_row()).map_err(DeliverError::Ledger)?;
        let is_of_this = |noted: &&Value| noted["place"] == self.tags.place();
        let Some(noted) = rows.iter().map(|(_, noted)| noted).find(is_of_this) else { return Ok(false) };
        if noted["asset"] == asset_id {
            return Ok(true);
        }
        let tells = tokio::select! {
            stopped = run.cancelled() => return Err(stopped),
            tells = self.tells_the_truth(run) => tells?,
        };
        if tells {
            return self.end_trial(run).map(|()| false);
        }
        let key = noted["key"].as_str().unwrap_or_default().to_owned();
        Err(DeliverError::Untrusted { target: self.target.clone(), key, stored: OURS_MAX })
    }

    /// Whether an object of ours is reported as what was sent.
    async fn tells_the_truth(&self, run: &Run<'_>) -> Result<bool> {
        let key = self.tags.probe_key();
        self.put_probe(&key, false).await?;
        let held = self.head(&key).await;
        self.remove_probe(&key).await;
        let Some(held) = held?.filter(|held| held.size_bytes == PROBE_BYTES.len() as u64) else { return Ok(false) };
        let Some(report) = held.reported else { return Ok(true) };
        let mut hasher = Hasher::for_report(&report);
        hasher.update(PROBE_BYTES);
        let sums = hasher.finish(held.size_bytes);
        let differs = matches!(compare(&sums, Some(&report)), Comparison::Differs { .. });
        Ok(!differs || self.distrusts(&report, run.ledger).await?)
    }
}
