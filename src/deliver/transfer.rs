//! One file to one key: streams it up in bounded memory and asks the store to confirm what it holds.
//!
//! The steps, in this order:
//!
//! 1. up to 16 MiB one conditional request, above that a multipart upload of which every part is checked as it arrives;
//! 2. the source is compared again with what was promised; if it changed, what was stored is taken back;
//! 3. the store is asked for size, entity tag and checksum, and they are compared with what was read from disk.
//!
//! A lost answer to the last request of an upload is no failure yet: step 3 tells whether the object is there.
//! It must not replace an object that it did not write itself.

use bytes::Bytes;
use object_store::{Attributes, PutMode, PutOptions, PutPayload, PutResult};

use super::backend::Backend;
use super::bucket::{Bucket, StoredObject, key_of};
use super::buffers::Buffers;
use super::checksum::{
    ChecksumComparison, ChecksumHasher, Checksums, ReportedChecksum, compare, md5_of_parts, part_md5, part_sha256,
    sha256_of_parts,
};
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::ledger::Ledger;
use super::parts::PartPlan;
use super::source::UploadSource;
use super::uplink::ResponseHead;
use crate::stop::Stop;

/// What an upload works under.
pub(super) struct UploadContext<'a> {
    /// Set from outside to stop.
    pub cancel: &'a Stop,
    /// Told of every further stretch of bytes that the store has acknowledged.
    pub progress: &'a dyn Fn(u64),
    /// What is read into; the target's.
    pub buffers: &'a Buffers,
    /// Where the state of multipart uploads is kept between starts.
    pub ledger: &'a dyn Ledger,
}

impl UploadContext<'_> {
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_requested() { Err(DeliverError::Cancelled) } else { Ok(()) }
    }

    pub(super) async fn cancelled(&self) -> DeliverError {
        self.cancel.requested().await;
        DeliverError::Cancelled
    }
}

/// What the store confirmed of an object.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    pub size_bytes: u64,
    pub etag: Option<String>,
    pub version: Option<String>,
    /// `algorithm:value`, equal on both sides.
    pub checksum: Option<String>,
}

/// How an upload ended.
#[derive(Debug)]
pub(super) enum TransferOutcome {
    /// The store holds it.
    Here(Proof),
    /// The key holds something else.
    Taken,
}

/// The end of an upload: the answer to its last request, and the checksums of what was sent.
pub(super) struct CompletedUpload {
    pub last: Result<PutResult>,
    pub sums: Checksums,
}

/// One file on its way to one key.
pub(super) struct Transfer<'a> {
    pub bucket: &'a Bucket,
    pub key: &'a str,
    pub source: &'a UploadSource,
    /// Id of the asset, as the object's metadata carry it.
    pub asset_id: &'a str,
    pub ctx: &'a UploadContext<'a>,
}

impl Transfer<'_> {
    /// Reads the file for the one checksum that the store reports.
    pub(super) fn read_for(&self, report: &ReportedChecksum) -> Result<Checksums> {
        self.source.rewind()?;
        let size_bytes = self.source.size_bytes();
        let plan = self.bucket.backend.plan(size_bytes);
        match report {
            ReportedChecksum::Md5OfParts(_, parts) | ReportedChecksum::Sha256OfParts(_, parts)
                if *parts != plan.count() =>
            {
                Ok(Checksums { size_bytes, ..Checksums::default() })
            }
            ReportedChecksum::Md5OfParts(..) => {
                let md5_of_parts = Some(md5_of_parts(&self.each_part(plan, part_md5)?));
                Ok(Checksums { size_bytes, md5_of_parts, ..Checksums::default() })
            }
            ReportedChecksum::Sha256OfParts(..) => {
                let sha256_of_parts = Some(sha256_of_parts(&self.each_part(plan, part_sha256)?));
                Ok(Checksums { size_bytes, sha256_of_parts, ..Checksums::default() })
            }
            _ => self.read_through(ChecksumHasher::for_report(report)),
        }
    }

    fn each_part<T>(&self, plan: PartPlan, digest: fn(&[u8]) -> T) -> Result<Vec<T>> {
        let digest = |i| self.ctx.check().and_then(|()| self.source.next(plan.len_of(i))).map(|bytes| digest(&bytes));
        (0..plan.count()).map(digest).collect()
    }

    fn read_through(&self, mut hasher: ChecksumHasher) -> Result<Checksums> {
        let mut left = self.source.size_bytes();
        while left > 0 {
            self.ctx.check()?;
            let bytes = self.source.next(left.min(READ_BYTES))?;
            hasher.update(&bytes);
            left -= bytes.len() as u64;
        }
        Ok(hasher.finish(self.source.size_bytes()))
    }

    /// Sends the file and has it confirmed. The key must have been seen free.
    pub async fn send(&self, attributes: Attributes) -> Result<TransferOutcome> {
        self.source.rewind()?;
        let plan = self.bucket.backend.plan(self.source.size_bytes());
        let ended =
            if plan.is_single() { self.put_single(attributes).await } else { self.put_parts(attributes, plan).await }?;
        match ended.last {
            Ok(put) => self.confirm(&put, &ended.sums).await.map(TransferOutcome::Here),
            Err(error) => self.settle(error, &ended.sums).await,
        }
    }

    async fn put_single(&self, attributes: Attributes) -> Result<CompletedUpload> {
        let size = self.source.size_bytes();
        let room = self.ctx.buffers.room(size).await;
        let bytes = room.fill(|buffer| self.source.at(0, buffer))?;
        self.source.check()?;
        let last = tokio::select! {
            stopped = self.ctx.cancelled() => Err(stopped),
            put = async {
                if !self.bucket.honours_conditions(self.ctx.ledger).await? {
                    self.look_once_more().await?;
                }
                self.put_whole(&bytes, attributes).await
            } => put,
        };
        if last.is_ok() {
            (self.ctx.progress)(size);
        }
        let sums = self.sums_of(&bytes, last.as_ref().ok());
        Ok(CompletedUpload { last, sums })
    }

    /// The checksums of a file that went up in one request; the CRC-64 that was sent along with it was computed of the
    /// same bytes, and is not computed again.
    fn sums_of(&self, bytes: &[u8], put: Option<&PutResult>) -> Checksums {
        let Backend { provider, checksum, .. } = self.bucket.backend;
        let answer = put.and_then(|put| put.extensions.get::<ResponseHead>()).filter(|_| provider == Provider::S3);
        let sent_crc64 = answer.and_then(|answer| answer.sent_crc64.clone());
        let mut hasher = ChecksumHasher::for_upload(provider, checksum, sent_crc64.is_none());
        hasher.update(bytes);
        let sums = hasher.finish(bytes.len() as u64);
        Checksums { crc64nvme: sums.crc64nvme.or(sent_crc64), ..sums }
    }

    /// The key was seen free before; where the store would overwrite what has come there since, it is looked at again.
    pub(super) async fn look_once_more(&self) -> Result<()> {
        match self.bucket.head(self.key).await? {
            None => Ok(()),
            Some(_) => Err(self.bucket.taken(self.key)),
        }
    }

    /// One conditional put; an unconditional one where the store does not know conditions, since the key was seen free.
    async fn put_whole(&self, bytes: &Bytes, attributes: Attributes) -> Result<PutResult> {
        let put = |mode| {
            let tags = self.bucket.backend.tags.clone();
            let options = PutOptions { mode, attributes: attributes.clone(), tags, ..PutOptions::default() };
            let payload = PutPayload::from(bytes.clone());
            let key = key_of(self.key);
            async move {
                self.bucket.call(Verb::Put, self.key, self.bucket.backend.put.put_opts(&key, payload, options)).await
            }
        };
        match put(PutMode::Create).await {
            Err(error) if error.cause() == Some(&Cause::NotSupported) => put(PutMode::Overwrite).await,
            other => other,
        }
    }

    /// After a successful last request: the source once more, then the store's own word.
    async fn confirm(&self, put: &PutResult, sums: &Checksums) -> Result<Proof> {
        let confirmed = match self.source.check() {
            Ok(()) => self.prove(put, sums).await,
            Err(changed) => Err(changed),
        };
        if let Err(DeliverError::SourceChanged { .. } | DeliverError::Mismatch { .. }) = confirmed {
            self.take_back(put).await;
        }
        confirmed
    }

    async fn prove(&self, put: &PutResult, sums: &Checksums) -> Result<Proof> {
        let Some(held) = self.bucket.head(self.key).await? else {
            return Err(self.mismatch("the object", "stored".into(), "missing".into()));
        };
        if held.size_bytes != sums.size_bytes {
            return Err(self.mismatch("the size", sums.size_bytes.to_string(), held.size_bytes.to_string()));
        }
        let (mut held, sums) = self.judged(held, sums.clone(), self.reads_for_reports()).await?;
        let checksum = match compare(&sums, held.reported.as_ref()) {
            ChecksumComparison::Same(checksum) => Some(checksum),
            ChecksumComparison::Differs { ours, theirs } => return Err(self.mismatch("the checksum", ours, theirs)),
            ChecksumComparison::NotComparable => {
                if let Err(differs) = self.same_tag(put, &held) {
                    if self.has_steady_tag(&held).await? {
                        return Err(differs);
                    }
                    // It has another tag at every look.
                    held.etag = None;
                }
                None
            }
        };
        let version = held.version.or_else(|| put.version.clone());
        Ok(Proof { size_bytes: held.size_bytes, etag: held.etag, version, checksum })
    }

    /// Without a checksum at least the entity tag must be the one that the upload ended with.
    fn same_tag(&self, put: &PutResult, held: &StoredObject) -> Result<()> {
        match (&put.e_tag, &held.etag) {
            (Some(ours), Some(theirs)) if bare(ours) != bare(theirs) => {
                Err(self.mismatch("the entity tag", ours.clone(), theirs.clone()))
            }
            _ => Ok(()),
        }
    }

    /// After a failed last request: the object may be there all the same.
    async fn settle(&self, error: DeliverError, sums: &Checksums) -> Result<TransferOutcome> {
        let was_taken = error.cause() == Some(&Cause::Taken);
        let held = match self.bucket.head(self.key).await {
            _ if matches!(error, DeliverError::Cancelled) => return Err(error),
            Ok(Some(held)) => held,
            Ok(None) if was_taken => return Err(self.mismatch("the object", "stored".into(), "missing".into())),
            Err(unseen) if was_taken => return Err(unseen),
            Ok(None) | Err(_) => return Err(error),
        };
        self.source.check()?;
        let (held, sums) = self.judged(held, sums.clone(), true).await?;
        match self.same(&held, &sums) {
            Some(proof) => Ok(TransferOutcome::Here(proof)),
            // Ours, and yet it looks otherwise: looked at again later, and not stored a second time.
            None if was_taken && held.is_of(self.asset_id) => Err(self.looks_otherwise(&held)),
            None if was_taken => Ok(TransferOutcome::Taken),
            None => Err(error),
        }
    }

    /// The error for an object of ours that is reported with another size or checksum.
    fn looks_otherwise(&self, held: &StoredObject) -> DeliverError {
        let (ours, theirs) = (self.source.size_bytes(), held.size_bytes);
        if ours == theirs {
            let theirs = held.reported.as_ref().map_or_else(|| "another".to_owned(), ToString::to_string);
            return self.mismatch("the checksum", "that of the file".into(), theirs);
        }
        self.mismatch("the size", ours.to_string(), theirs.to_string())
    }

    /// Removes what was just stored, if it still is what was just stored.
    async fn take_back(&self, put: &PutResult) {
        let Ok(Some(held)) = self.bucket.head(self.key).await else { return };
        let is_ours = matches!((&put.e_tag, &held.etag), (Some(a), Some(b)) if bare(a) == bare(b));
        if is_ours && self.bucket.delete(self.key).await.is_err() {
            tracing::warn!(target = %self.bucket.target, key = %self.key, "incorrect object could not be removed");
        }
    }

    pub(super) fn mismatch(&self, what: &'static str, ours: String, theirs: String) -> DeliverError {
        DeliverError::Mismatch { target: self.bucket.target.clone(), key: self.key.to_owned(), what, ours, theirs }
    }
}

/// What is read at once where nothing is sent.
const READ_BYTES: u64 = 1024 * 1024;

pub(super) fn bare(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}
