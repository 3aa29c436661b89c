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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{Attributes, MultipartUpload, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::bucket::{Bucket, Held, key_of, tag};
use super::checksum::{Comparison, Hasher, Reported, Sums, compare, md5_of_parts, part_crc64, part_md5};
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::parts::{PART_MIN_BYTES, PartPlan};
use super::source::Source;
use super::uplink::{Answer, create_only, observed};

/// Buffers of [`PART_MIN_BYTES`] over all uploads at once: what bounds the memory of this room.
pub(super) const BUFFERS: u32 = 4;

/// What an upload works under.
pub(super) struct Run<'a> {
    /// Set from outside to stop.
    pub cancel: &'a AtomicBool,
    /// Told of every further stretch of bytes that the store has acknowledged.
    pub progress: &'a dyn Fn(u64),
    /// [`BUFFERS`] permits.
    pub buffers: &'a Semaphore,
}

impl Run<'_> {
    pub fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) { Err(DeliverError::Cancelled) } else { Ok(()) }
    }

    async fn cancelled(&self) -> DeliverError {
        while self.check().is_ok() {
            tokio::time::sleep(CANCEL_POLL).await;
        }
        DeliverError::Cancelled
    }

    async fn room(&self, bytes: u64) -> SemaphorePermit<'_> {
        let units = bytes.div_ceil(PART_MIN_BYTES).clamp(1, BUFFERS.into());
        let room = self.buffers.acquire_many(u32::try_from(units).unwrap_or(BUFFERS)).await;
        // The semaphore is never closed.
        room.unwrap_or_else(|_| unreachable!("the buffers' semaphore was closed"))
    }
}

const CANCEL_POLL: Duration = Duration::from_millis(50);
const ABORT_TIMEOUT: Duration = Duration::from_secs(15);

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
pub(super) enum Stored {
    /// The store holds it.
    Here(Proof),
    /// The key holds something else.
    Taken,
}

/// The end of an upload: the answer to its last request, and the checksums of what was sent.
struct Ended {
    last: Result<PutResult>,
    sums: Sums,
}

/// One file on its way to one key.
pub(super) struct Transfer<'a> {
    pub bucket: &'a Bucket,
    pub key: &'a str,
    pub source: &'a Source,
    /// Id of the asset, as the object's metadata carry it.
    pub asset_id: &'a str,
    pub run: &'a Run<'a>,
}

impl Transfer<'_> {
    /// Whether what stands under the key already is this file; `None` for other content.
    pub fn adopt(&self, held: &Held) -> Result<Option<Proof>> {
        if held.size_bytes != self.source.size_bytes() {
            return Ok(None);
        }
        let sums = match &held.reported {
            Some(report) => self.read_for(report)?,
            None => Sums { size_bytes: held.size_bytes, ..Sums::default() },
        };
        Ok(self.same(held, &sums))
    }

    /// The proof that an object is what the sums describe.
    ///
    /// Where the store reports nothing comparable, an object of the same size that says it is this asset counts as
    /// ours, without a checksum: enough not to upload it twice, not enough to free the local file.
    fn same(&self, held: &Held, sums: &Sums) -> Option<Proof> {
        let checksum = match compare(sums, held.reported.as_ref()) {
            _ if held.size_bytes != sums.size_bytes => return None,
            Comparison::Same(checksum) => Some(checksum),
            Comparison::NotComparable if held.asset_id.as_deref() == Some(self.asset_id) => None,
            _ => return None,
        };
        let (etag, version) = (held.etag.clone(), held.version.clone());
        Some(Proof { size_bytes: held.size_bytes, etag, version, checksum })
    }

    /// Reads the file for the one checksum that the store reports.
    fn read_for(&self, report: &Reported) -> Result<Sums> {
        self.source.rewind()?;
        let size_bytes = self.source.size_bytes();
        let plan = PartPlan::for_size(size_bytes);
        match report {
            Reported::Md5OfParts(_, parts) if *parts != plan.count() => Ok(Sums { size_bytes, ..Sums::default() }),
            Reported::Md5OfParts(..) => {
                let parts: Result<Vec<_>> = (0..plan.count())
                    .map(|i| self.run.check().and_then(|()| self.source.next(plan.len_of(i))).map(|b| part_md5(&b)))
                    .collect();
                Ok(Sums { size_bytes, md5_of_parts: Some(md5_of_parts(&parts?)), ..Sums::default() })
            }
            _ => self.read_through(Hasher::for_report(report)),
        }
    }

    fn read_through(&self, mut hasher: Hasher) -> Result<Sums> {
        let mut left = self.source.size_bytes();
        while left > 0 {
            self.run.check()?;
            let bytes = self.source.next(left.min(READ_BYTES))?;
            hasher.update(&bytes);
            left -= bytes.len() as u64;
        }
        Ok(hasher.finish(self.source.size_bytes()))
    }

    /// Sends the file and has it confirmed. The key must have been seen free.
    pub async fn send(&self, attributes: Attributes) -> Result<Stored> {
        self.source.rewind()?;
        let plan = PartPlan::for_size(self.source.size_bytes());
        let ended =
            if plan.is_single() { self.put_single(attributes).await } else { self.put_parts(attributes, plan).await }?;
        match ended.last {
            Ok(put) => self.confirm(&put, &ended.sums).await.map(Stored::Here),
            Err(error) => self.settle(error, &ended.sums).await,
        }
    }

    async fn put_single(&self, attributes: Attributes) -> Result<Ended> {
        let size = self.source.size_bytes();
        let _room = self.run.room(size).await;
        let bytes = self.source.next(size)?;
        self.source.check()?;
        let mut hasher = Hasher::for_provider(self.bucket.backend.provider, true);
        hasher.update(&bytes);
        let sums = hasher.finish(size);
        let last = tokio::select! {
            stopped = self.run.cancelled() => Err(stopped),
            put = self.put_whole(&bytes, attributes) => put,
        };
        if last.is_ok() {
            (self.run.progress)(size);
        }
        Ok(Ended { last, sums })
    }

    /// One conditional put; an unconditional one where the store does not know conditions, since the key was seen free.
    async fn put_whole(&self, bytes: &Bytes, attributes: Attributes) -> Result<PutResult> {
        let put = |mode| {
            let options = PutOptions { mode, attributes: attributes.clone(), ..PutOptions::default() };
            let payload = PutPayload::from(bytes.clone());
            let key = key_of(self.key);
            async move {
                self.bucket.call(Verb::Put, self.key, self.bucket.backend.store.put_opts(&key, payload, options)).await
            }
        };
        match put(PutMode::Create).await {
            Err(error) if error.cause() == Some(&Cause::NotSupported) => put(PutMode::Overwrite).await,
            other => other,
        }
    }

    async fn put_parts(&self, attributes: Attributes, plan: PartPlan) -> Result<Ended> {
        let key = key_of(self.key);
        let begun = Upload::begin(&self.bucket.backend, key, attributes);
        let mut upload = self.bucket.call(Verb::Put, self.key, begun).await?;
        let sent = match self.send_parts(&mut upload, plan).await {
            Ok(sent) => sent,
            Err(error) => {
                self.abort(upload).await;
                return Err(error);
            }
        };
        let (ids, sums) = sent.finish(plan);
        let last = self.complete(&mut upload, ids).await;
        if last.is_err() {
            // If the upload did end and only the answer was lost, there is nothing left to abort.
            self.abort(upload).await;
        }
        Ok(Ended { last, sums })
    }

    async fn complete(&self, upload: &mut Upload, ids: Vec<PartId>) -> Result<PutResult> {
        tokio::select! {
            stopped = self.run.cancelled() => Err(stopped),
            done = async {
                let ending = create_only(upload.complete(ids.clone()));
                match self.bucket.call(Verb::Put, self.key, ending).await {
                    Err(e) if e.cause() == Some(&Cause::NotSupported) => {
                        self.bucket.call(Verb::Put, self.key, upload.complete(ids)).await
                    }
                    other => other,
                }
            } => done,
        }
    }

    /// Reads part after part and keeps a few in flight; every error ends it.
    async fn send_parts(&self, upload: &mut Upload, plan: PartPlan) -> Result<Parts> {
        let mut parts = Parts::new(self.bucket.backend.provider);
        let mut in_flight = FuturesUnordered::new();
        for index in 0..plan.count() {
            let len = plan.len_of(index);
            // Answers are taken while waiting for room: they are what makes room.
            let room = loop {
                tokio::select! {
                    biased;
                    Some(sent) = in_flight.next(), if !in_flight.is_empty() => self.take(&mut parts, sent)?,
                    stopped = self.run.cancelled() => return Err(stopped),
                    room = self.run.room(len) => break room,
                }
            };
            let bytes = self.source.next(len)?;
            parts.hash(&bytes);
            let put = upload.put(index, bytes.clone().into());
            in_flight.push(async move {
                let (result, answer) = observed(put).await;
                drop(room);
                Sent { index, bytes, result, answer }
            });
        }
        while !in_flight.is_empty() {
            tokio::select! {
                Some(sent) = in_flight.next() => self.take(&mut parts, sent)?,
                stopped = self.run.cancelled() => return Err(stopped),
            }
        }
        self.source.check()?;
        Ok(parts)
    }

    fn take(&self, parts: &mut Parts, sent: Sent) -> Result<()> {
        let Sent { index, bytes, result, answer } = sent;
        let id = result.map_err(|e| self.bucket.fault(Verb::Put, self.key, e, answer.as_ref()))?;
        let confirmed = parts.confirm(index, &bytes, id, answer.as_ref());
        confirmed.map_err(|(ours, theirs)| self.mismatch("the checksum of a part", ours, theirs))?;
        (self.run.progress)(bytes.len() as u64);
        Ok(())
    }

    async fn abort(&self, upload: Upload) {
        let aborted = self.bucket.call(Verb::Abort, self.key, upload.abort());
        let ended = tokio::time::timeout(ABORT_TIMEOUT, aborted).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(target = %self.bucket.target, key = %self.key, error = %error, "Upload not aborted.");
        }
    }

    /// After a successful last request: the source once more, then the store's own word.
    async fn confirm(&self, put: &PutResult, sums: &Sums) -> Result<Proof> {
        let confirmed = match self.source.check() {
            Ok(()) => self.prove(put, sums).await,
            Err(changed) => Err(changed),
        };
        if let Err(DeliverError::SourceChanged { .. } | DeliverError::Mismatch { .. }) = confirmed {
            self.take_back(put).await;
        }
        confirmed
    }

    async fn prove(&self, put: &PutResult, sums: &Sums) -> Result<Proof> {
        let Some(held) = self.bucket.head(self.key).await? else {
            return Err(self.mismatch("the object", "stored".into(), "missing".into()));
        };
        if held.size_bytes != sums.size_bytes {
            return Err(self.mismatch("the size", sums.size_bytes.to_string(), held.size_bytes.to_string()));
        }
        let compared = match (compare(sums, held.reported.as_ref()), &held.reported) {
            // The store reports what was not foreseen: the file is read once more for it.
            (Comparison::NotComparable, Some(report)) => compare(&self.read_for(report)?, Some(report)),
            (compared, _) => compared,
        };
        let checksum = match compared {
            Comparison::Same(checksum) => Some(checksum),
            Comparison::Differs { ours, theirs } => return Err(self.mismatch("the checksum", ours, theirs)),
            Comparison::NotComparable => self.same_tag(put, &held).map(|()| None)?,
        };
        let version = held.version.or_else(|| put.version.clone());
        Ok(Proof { size_bytes: held.size_bytes, etag: held.etag, version, checksum })
    }

    /// Without a checksum at least the entity tag must be the one that the upload ended with.
    fn same_tag(&self, put: &PutResult, held: &Held) -> Result<()> {
        match (&put.e_tag, &held.etag) {
            (Some(ours), Some(theirs)) if bare(ours) != bare(theirs) => {
                Err(self.mismatch("the entity tag", ours.clone(), theirs.clone()))
            }
            _ => Ok(()),
        }
    }

    /// After a failed last request: the object may be there all the same.
    async fn settle(&self, error: DeliverError, sums: &Sums) -> Result<Stored> {
        if matches!(error, DeliverError::Cancelled) {
            return Err(error);
        }
        let Ok(Some(held)) = self.bucket.head(self.key).await else { return Err(error) };
        self.source.check()?;
        match self.same(&held, sums) {
            Some(proof) => Ok(Stored::Here(proof)),
            None if error.cause() == Some(&Cause::Taken) => Ok(Stored::Taken),
            None => Err(error),
        }
    }

    /// Removes what was just stored, if it still is what was just stored.
    async fn take_back(&self, put: &PutResult) {
        let Ok(Some(held)) = self.bucket.head(self.key).await else { return };
        let is_ours = matches!((&put.e_tag, &held.etag), (Some(a), Some(b)) if bare(a) == bare(b));
        if is_ours && self.bucket.delete(self.key).await.is_err() {
            tracing::warn!(target = %self.bucket.target, key = %self.key, "A torn object could not be taken back.");
        }
    }

    fn mismatch(&self, what: &'static str, ours: String, theirs: String) -> DeliverError {
        DeliverError::Mismatch { target: self.bucket.target.clone(), key: self.key.to_owned(), what, ours, theirs }
    }
}

/// What is read at once where nothing is sent.
const READ_BYTES: u64 = 1024 * 1024;

fn bare(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// A multipart upload under way, by ids where the store has them.
enum Upload {
    Ids { store: Arc<dyn MultipartStore>, key: Key, id: String },
    Handle(Box<dyn MultipartUpload>),
}

impl Upload {
    async fn begin(backend: &super::backend::Backend, key: Key, attributes: Attributes) -> object_store::Result<Self> {
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        match &backend.parts {
            Some(store) => {
                let id = store.create_multipart_opts(&key, options).await?;
                Ok(Self::Ids { store: store.clone(), key, id })
            }
            None => backend.store.put_multipart_opts(&key, options).await.map(Self::Handle),
        }
    }

    fn put(&mut self, index: u64, payload: PutPayload) -> BoxFuture<'static, object_store::Result<Option<PartId>>> {
        match self {
            Self::Ids { store, key, id } => {
                let (store, key, id) = (store.clone(), key.clone(), id.clone());
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                Box::pin(async move { store.put_part(&key, &id, index, payload).await.map(Some) })
            }
            Self::Handle(upload) => {
                let put = upload.put_part(payload);
                Box::pin(async move { put.await.map(|()| None) })
            }
        }
    }

    async fn complete(&mut self, ids: Vec<PartId>) -> object_store::Result<PutResult> {
        match self {
            Self::Ids { store, key, id } => store.complete_multipart(key, id, ids).await,
            Self::Handle(upload) => upload.complete().await,
        }
    }

    async fn abort(self) -> object_store::Result<()> {
        match self {
            Self::Ids { store, key, id } => store.abort_multipart(&key, &id).await,
            Self::Handle(mut upload) => upload.abort().await,
        }
    }
}

/// One part that was answered.
struct Sent {
    index: u64,
    bytes: Bytes,
    result: object_store::Result<Option<PartId>>,
    answer: Option<Answer>,
}

/// What is known of the parts sent so far.
struct Parts {
    provider: Provider,
    hasher: Hasher,
    ids: Vec<(u64, PartId)>,
    /// MD5 of those parts whose checksum the store did not confirm: S3's entity tag is made of them.
    md5: Vec<(u64, [u8; 16])>,
    confirmed: u64,
}

impl Parts {
    fn new(provider: Provider) -> Self {
        let hasher = Hasher::for_provider(provider, false);
        Self { provider, hasher, ids: Vec::new(), md5: Vec::new(), confirmed: 0 }
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Compares the checksum that the answer to a part carries; ours and theirs if they differ.
    fn confirm(
        &mut self,
        index: u64,
        bytes: &[u8],
        id: Option<PartId>,
        answer: Option<&Answer>,
    ) -> std::result::Result<(), (String, String)> {
        let theirs = match self.provider {
            Provider::S3 => id.as_ref().and_then(|id| tag(&id.content_id, "checksum_crc64nvme")),
            Provider::Azure => answer.and_then(|a| a.header("x-ms-content-crc64")).map(str::to_owned),
            Provider::Gcs | Provider::Disk => None,
        };
        self.ids.extend(id.map(|id| (index, id)));
        match theirs {
            None if self.provider == Provider::S3 => self.md5.push((index, part_md5(bytes))),
            None => {}
            Some(theirs) => {
                let (as_s3, as_azure) = part_crc64(bytes);
                let ours = if self.provider == Provider::Azure { as_azure } else { as_s3 };
                if ours != theirs {
                    return Err((ours, theirs));
                }
                self.confirmed += 1;
            }
        }
        Ok(())
    }

    /// The ids in order, and the checksums of the whole.
    fn finish(mut self, plan: PartPlan) -> (Vec<PartId>, Sums) {
        let mut sums = self.hasher.finish(plan.size_bytes);
        self.md5.sort_unstable_by_key(|(index, _)| *index);
        if self.md5.len() as u64 == plan.count() {
            let parts: Vec<_> = self.md5.iter().map(|(_, md5)| *md5).collect();
            sums.md5_of_parts = Some(md5_of_parts(&parts));
        }
        // Azure computes the checksum of what it received; an S3 server may only repeat what it was sent.
        sums.every_part_confirmed = self.provider == Provider::Azure && self.confirmed == plan.count();
        self.ids.sort_by_key(|(index, _)| *index);
        (self.ids.into_iter().map(|(_, id)| id).collect(), sums)
    }
}
