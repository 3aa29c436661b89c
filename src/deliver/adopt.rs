//! What stands under a key already: whether it is this file, and what proves it.
//!
//! What a store says of an object that we did not write here is believed only of an object that carries the asset's id. Any other is
//! read back: a gateway may show the recording itself. Where a store's entity tags are no checksums, the object carries one of ours.

use futures::StreamExt;
use object_store::ObjectStoreExt;

use super::ChecksumMode;
use super::bucket::{StoredObject, key_of};
use super::checksum::{ChecksumComparison, ChecksumHasher, Checksums, ReportedChecksum, compare};
use super::diagnose::Verb;
use super::error::Result;
use super::limits::reading;
use super::transfer::{Proof, Transfer, bare};

impl Transfer<'_> {
    /// Whether what stands under the key already is this file; `None` for other content.
    pub async fn adopt(&self, held: &StoredObject) -> Result<Option<Proof>> {
        if held.size_bytes != self.source.size_bytes() {
            return Ok(None);
        }
        let remembered = self.remembered(self.bucket.backend.plan(held.size_bytes))?;
        let mut proof = remembered.and_then(|sums| self.same(held, &sums)).filter(|proof| proof.checksum.is_some());
        let mut held = held.clone();
        if proof.is_none() {
            let sums = Checksums { size_bytes: held.size_bytes, ..Checksums::default() };
            let judged = self.judged(held, sums, true).await?;
            proof = self.same(&judged.0, &judged.1);
            held = judged.0;
        }
        match proof {
            _ if held.is_doubted => self.adopt_by_ours(&held).await,
            Some(proof) if !held.is_of(self.asset_id) => Ok(self.reads_as_source().await?.map(|_| proof)),
            proof => Ok(proof),
        }
    }

    /// Where the store's own checksum is none: by the one that we gave the object, else by its bytes. Ours says what was sent, and
    /// is enough not to send it twice; it does not say what arrived.
    async fn adopt_by_ours(&self, held: &StoredObject) -> Result<Option<Proof>> {
        let proof = |checksum| Proof {
            size_bytes: held.size_bytes,
            etag: held.etag.clone(),
            version: held.version.clone(),
            checksum,
        };
        match &held.own_checksum {
            Some(theirs) if held.is_of(self.asset_id) => Ok((*theirs == self.own_checksum()?).then(|| proof(None))),
            _ => Ok(self.reads_as_source().await?.map(|crc64| proof(Some(format!("crc64nvme:{crc64}"))))),
        }
    }

    /// The checksum that objects carry where the store's own cannot be trusted: CRC-64/NVME as S3 writes it.
    pub fn own_checksum(&self) -> Result<String> {
        let sums = self.read_for(&ReportedChecksum::Crc64Nvme(String::new()))?;
        Ok(sums.crc64nvme.unwrap_or_default())
    }

    /// Reads the object and compares its bytes with those of the file; the file's CRC-64 if they are the same.
    async fn reads_as_source(&self) -> Result<Option<String>> {
        self.source.rewind()?;
        let mut left = self.source.size_bytes();
        let mut hasher = ChecksumHasher::for_report(&ReportedChecksum::Crc64Nvme(String::new()));
        let path = key_of(self.key);
        let get = reading(path.as_ref(), left, self.bucket.backend.store.get(&path));
        let got = tokio::select! {
            stopped = self.ctx.cancelled() => return Err(stopped),
            got = self.bucket.call(Verb::Get, self.key, get) => got?,
        };
        let mut theirs = got.into_stream();
        loop {
            let piece = tokio::select! {
                stopped = self.ctx.cancelled() => return Err(stopped),
                piece = theirs.next() => piece,
            };
            let Some(piece) = piece else { break };
            let piece = piece.map_err(|e| self.bucket.fault(Verb::Get, self.key, e, None))?;
            let len = piece.len() as u64;
            if len > left || self.source.next(len)? != piece {
                return Ok(None);
            }
            hasher.update(&piece);
            left -= len;
        }
        Ok(if left == 0 { hasher.finish(self.source.size_bytes()).crc64nvme } else { None })
    }

    /// The proof that an object is what the sums describe.
    ///
    /// Where the store reports nothing comparable, an object of the same size that says it is this asset counts as
    /// ours, without a checksum: enough not to upload it twice, not enough to free the local file.
    pub(super) fn same(&self, held: &StoredObject, sums: &Checksums) -> Option<Proof> {
        let checksum = match compare(sums, held.reported.as_ref()) {
            _ if held.size_bytes != sums.size_bytes => return None,
            // Parts that were confirmed prove only what was made of them.
            ChecksumComparison::Same(_) if sums.every_part_confirmed && !held.is_of(self.asset_id) => return None,
            ChecksumComparison::Same(checksum) => Some(checksum),
            ChecksumComparison::NotComparable if held.is_of(self.asset_id) => None,
            _ => return None,
        };
        let (etag, version) = (held.etag.clone(), held.version.clone());
        Some(Proof { size_bytes: held.size_bytes, etag, version, checksum })
    }

    /// What is to be compared: the file is read for a checksum that was not foreseen, if it may be, and one that is none is left out.
    pub(super) async fn judged(
        &self,
        mut held: StoredObject,
        mut sums: Checksums,
        may_read: bool,
    ) -> Result<(StoredObject, Checksums)> {
        let Some(report) = held.reported.clone() else { return Ok((held, sums)) };
        if self.bucket.distrusts(&report, self.ctx.ledger).await? {
            (held.reported, held.is_doubted) = (None, true);
            return Ok((held, sums));
        }
        if may_read && compare(&sums, Some(&report)) == ChecksumComparison::NotComparable {
            sums = self.read_for(&report)?;
        }
        let differs = matches!(compare(&sums, Some(&report)), ChecksumComparison::Differs { .. });
        if differs && !self.bucket.believes(&report, self.ctx).await? {
            (held.reported, held.is_doubted) = (None, true);
        }
        Ok((held, sums))
    }

    /// Whether the store gives the same object the same entity tag twice.
    pub(super) async fn has_steady_tag(&self, held: &StoredObject) -> Result<bool> {
        let again = self.bucket.head(self.key).await?.and_then(|again| again.etag);
        let (Some(now), Some(then)) = (&again, &held.etag) else { return Ok(again == held.etag) };
        Ok(bare(now) == bare(then))
    }

    /// Whether the file may be read once more for a checksum that the store reports and nobody foresaw.
    pub(super) fn reads_for_reports(&self) -> bool {
        self.bucket.backend.checksum != ChecksumMode::None
    }
}
