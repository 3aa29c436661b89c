//! A file that goes up in parts: begun or continued, part after part remembered, ended once.
//!
//! What was acknowledged is in the ledger before the next part begins, so that a process that dies costs at most the
//! parts that were on the way; what was acknowledged meanwhile shares one flush. Parts of a file that changed meanwhile
//! are thrown away in the store, too.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use object_store::multipart::PartId;
use object_store::{Attributes, PutMultipartOptions, PutPayload, PutResult};

use super::ChecksumMode;
use super::attributes::block_list_headers;
use super::backend::Backend;
use super::bucket::{Bucket, key_of};
use super::checksum::{Checksums, PartSums, combine};
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::ledger::{Ledger, PartRow, UploadRow, UploadRows, heads};
use super::parts::PartPlan;
use super::transfer::{CompletedUpload, Transfer};
use super::uplink::{CompletionHeaders, ResponseHead, counted, observed};
use super::wire::OpenUpload;
use super::xml::text_of;
use crate::fault::{Class, Fault};

const ABORT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// An upload under way.
struct MultipartState {
    id: String,
    plan: PartPlan,
    parts: BTreeMap<u64, PartRow>,
    is_continued: bool,
}

impl MultipartState {
    fn is_whole(&self) -> bool {
        self.parts.len() as u64 == self.plan.count()
    }

    fn sums(&self, provider: Provider) -> Checksums {
        sums_of(self.parts.values(), provider)
    }

    fn ids(&self) -> Vec<PartId> {
        self.parts.values().map(|part| PartId { content_id: part.content_id.clone() }).collect()
    }
}

/// Azure computes the checksum of what it received; an S3 server may only repeat what it was sent.
fn sums_of<'a>(parts: impl Iterator<Item = &'a PartRow> + Clone, provider: Provider) -> Checksums {
    let every_part_confirmed = provider == Provider::Azure && parts.clone().all(|p| p.confirmed);
    Checksums { every_part_confirmed, ..combine(parts.map(|p| (p.size_bytes, &p.sums))) }
}

/// One part that was answered.
struct SentPart {
    index: u64,
    bytes: Bytes,
    result: object_store::Result<PartId>,
    answer: Option<ResponseHead>,
}

impl Transfer<'_> {
    fn rows(&self) -> UploadRows<'_> {
        UploadRows::of(self.ctx.ledger, &self.bucket.target, self.key, self.asset_id)
    }

    pub(super) async fn put_parts(&self, attributes: Attributes, plan: PartPlan) -> Result<CompletedUpload> {
        let mut upload = match self.continued(plan).await? {
            Some(upload) => upload,
            None => self.begin(&attributes, plan).await?,
        };
        let mut sent = self.send_parts(&mut upload).await;
        if upload.is_continued && sent.as_ref().is_err_and(is_gone) {
            self.rows().forget()?;
            upload = self.begin(&attributes, plan).await?;
            sent = self.send_parts(&mut upload).await;
        }
        if let Err(error) = sent {
            self.leave(&upload, &error).await;
            return Err(error);
        }
        let last = self.complete(&upload, &attributes).await;
        crate::durable::step("upload ended");
        match &last {
            Err(error) if is_gone(error) => self.rows().forget()?,
            Err(error) if error.cause() != Some(&Cause::Taken) => self.leave(&upload, error).await,
            _ => {}
        }
        Ok(CompletedUpload { last, sums: upload.sums(self.bucket.backend.provider) })
    }

    /// The upload that an earlier try or process left, if it is of this very file; any other is thrown away.
    async fn continued(&self, plan: PartPlan) -> Result<Option<MultipartState>> {
        let rows = self.rows();
        let Some((head, parts)) = rows.read()? else { return Ok(None) };
        match &head.upload_id {
            Some(id) if self.is_of_this_file(&head, plan) => {
                let is_sound = |p: &PartRow| p.index < plan.count() && p.size_bytes == plan.len_of(p.index);
                let parts: BTreeMap<_, _> = parts.into_iter().filter(is_sound).map(|p| (p.index, p)).collect();
                tracing::info!(target = %self.bucket.target, key = %self.key, parts = parts.len(), "upload resumed");
                for part in parts.values() {
                    (self.ctx.progress)(part.size_bytes);
                }
                Ok(Some(MultipartState { id: id.clone(), plan, parts, is_continued: true }))
            }
            _ => {
                throw_away(self.bucket, &head, self.ctx.ledger).await?;
                rows.forget().map(|()| None)
            }
        }
    }

    fn is_of_this_file(&self, head: &UploadRow, plan: PartPlan) -> bool {
        head.source == self.source.fingerprint()
            && head.changed_ns == Some(self.source.changed_ns())
            && head.path == self.source.path()
            && head.part_bytes == plan.part_bytes
            && head.asset_id == self.asset_id
    }

    async fn begin(&self, attributes: &Attributes, plan: PartPlan) -> Result<MultipartState> {
        let rows = self.rows();
        let mut head = UploadRow {
            target: self.bucket.target.clone(),
            key: self.key.to_owned(),
            upload_id: None,
            part_bytes: plan.part_bytes,
            path: self.source.path().to_owned(),
            source: self.source.fingerprint(),
            changed_ns: Some(self.source.changed_ns()),
            asset_id: self.asset_id.to_owned(),
        };
        // Noted before it is asked for: an upload whose id never arrived is found by its key.
        rows.write_head(&head)?;
        let backend = &self.bucket.backend;
        let options = begin_options(backend, attributes);
        let key = key_of(self.key);
        let create = self.bucket.call(Verb::Put, self.key, backend.begin.create_multipart_opts(&key, options));
        let (begun, requests) = counted(create).await;
        let id = match begun {
            Ok(id) => id,
            Err(error) => {
                // Of a clean refusal nothing is left open; of anything else an upload may be.
                if error.class() == Class::Environment && error.cause() != Some(&Cause::NotAStore) {
                    rows.forget()?;
                }
                return Err(error);
            }
        };
        if requests > 1 {
            throw_away_but(self.bucket, &head, Some(&id), self.ctx.ledger).await?;
        }
        head.upload_id = Some(id.clone());
        let noted = rows.write_head(&head);
        let upload = MultipartState { id, plan, parts: BTreeMap::new(), is_continued: false };
        match noted {
            Ok(()) => Ok(upload),
            Err(error) => {
                self.abort(&upload.id).await;
                Err(error)
            }
        }
    }

    /// Reads what is missing, part after part, and keeps a few in flight; every error ends it.
    async fn send_parts(&self, upload: &mut MultipartState) -> Result<()> {
        let at_once = self.bucket.backend.at_once;
        let mut in_flight = FuturesUnordered::new();
        let missing: Vec<_> = (0..upload.plan.count()).filter(|i| !upload.parts.contains_key(i)).collect();
        for index in missing {
            let len = upload.plan.len_of(index);
            // Answers are taken while waiting for room: they are what makes room.
            let room = loop {
                tokio::select! {
                    biased;
                    Some(sent) = in_flight.next(), if !in_flight.is_empty() => {
                        self.take(upload, all_ready(sent, &mut in_flight))?;
                    }
                    stopped = self.ctx.cancelled() => return Err(stopped),
                    room = self.ctx.buffers.room(len), if in_flight.len() < at_once => break room,
                }
            };
            let bytes = room.fill(|buffer| self.source.at(index * upload.plan.part_bytes, buffer))?;
            let put = self.put_part(upload.id.clone(), index, bytes);
            in_flight.push(async move {
                let sent = put.await;
                drop(room);
                sent
            });
        }
        while !in_flight.is_empty() {
            tokio::select! {
                Some(sent) = in_flight.next() => self.take(upload, all_ready(sent, &mut in_flight))?,
                stopped = self.ctx.cancelled() => return Err(stopped),
            }
        }
        debug_assert!(upload.is_whole());
        self.source.check()
    }

    async fn put_part(&self, id: String, index: u64, bytes: Bytes) -> SentPart {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let key = key_of(self.key);
        let put = self.bucket.backend.parts.put_part(&key, &id, place, PutPayload::from(bytes.clone()));
        let (result, answer) = observed(put).await;
        SentPart { index, bytes, result, answer }
    }

    /// Notes the parts that were answered, with one flush; what was acknowledged is noted also where another one failed.
    fn take(&self, upload: &mut MultipartState, sent: Vec<SentPart>) -> Result<()> {
        let mut failed = None;
        let mut parts = Vec::new();
        for sent in sent {
            match self.acknowledged(sent) {
                Ok(part) => parts.push(part),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if !parts.is_empty() {
            self.rows().write_parts(&parts)?;
        }
        for part in parts {
            crate::durable::step("part noted");
            (self.ctx.progress)(part.size_bytes);
            upload.parts.insert(part.index, part);
        }
        failed.map_or(Ok(()), Err)
    }

    fn acknowledged(&self, sent: SentPart) -> Result<PartRow> {
        let SentPart { index, bytes, result, answer } = sent;
        let id = result.map_err(|e| self.bucket.fault(Verb::Put, self.key, e, answer.as_ref()))?;
        let confirmed = confirm(self.bucket, index, &bytes, id, answer.as_ref());
        confirmed.map_err(|(ours, theirs)| self.mismatch("the checksum of a part", ours, theirs))
    }

    async fn complete(&self, upload: &MultipartState, attributes: &Attributes) -> Result<PutResult> {
        let backend = &self.bucket.backend;
        let key = key_of(self.key);
        let end = |is_create_only| {
            let told = end_headers(backend, attributes, is_create_only);
            let ending = backend.parts.complete_multipart(&key, &upload.id, upload.ids());
            self.bucket.call(Verb::Put, self.key, told.around(ending))
        };
        tokio::select! {
            stopped = self.ctx.cancelled() => Err(stopped),
            done = async {
                // Some stores know the condition of a put and not that of the end of an upload, and hours may have passed.
                if backend.provider != Provider::Azure {
                    self.look_once_more().await?;
                }
                match end(true).await {
                    Err(e) if e.cause() == Some(&Cause::NotSupported) => end(false).await,
                    other => other,
                }
            } => done,
        }
    }

    /// After a failure: what can be continued stays, the rest is thrown away.
    async fn leave(&self, upload: &MultipartState, error: &DeliverError) {
        if self.rows().remembers() && may_continue(error) {
            return;
        }
        // What could not be aborted stays noted, and is tried again at the next start.
        if self.abort(&upload.id).await {
            let _ = self.rows().forget();
        }
    }

    async fn abort(&self, id: &str) -> bool {
        abort(self.bucket, self.key, id).await.is_ok()
    }

    /// The checksums of what an earlier process sent, if all of it was acknowledged and it is this file.
    pub(super) fn remembered(&self, plan: PartPlan) -> Result<Option<Checksums>> {
        let Some((head, parts)) = self.rows().read()? else { return Ok(None) };
        let is_whole = parts.len() as u64 == plan.count() && self.is_of_this_file(&head, plan);
        Ok(is_whole.then(|| sums_of(parts.iter(), self.bucket.backend.provider)))
    }

    /// The key was decided otherwise: an upload to it that is still open is given up. Its rows stay if they may still
    /// prove what stands there.
    pub(super) async fn give_up(&self, keeps_rows: bool) -> Result<()> {
        let rows = self.rows();
        let Some((head, _)) = rows.read()? else { return Ok(()) };
        throw_away(self.bucket, &head, self.ctx.ledger).await?;
        if keeps_rows { Ok(()) } else { rows.forget() }
    }
}

/// A part that was answered, and all others that are by now.
fn all_ready<F: Future<Output = SentPart>>(first: SentPart, in_flight: &mut FuturesUnordered<F>) -> Vec<SentPart> {
    let more = std::iter::from_fn(|| in_flight.next().now_or_never().flatten());
    std::iter::once(first).chain(more).collect()
}

/// Whether the store no longer knows the upload.
fn is_gone(error: &DeliverError) -> bool {
    error.cause() == Some(&Cause::NoSuchObject)
}

/// Whether what was acknowledged so far is still good after an error.
fn may_continue(error: &DeliverError) -> bool {
    match error {
        DeliverError::Store {
            cause: Cause::Other | Cause::NoSuchObject | Cause::PartsLost | Cause::NotSupported,
            ..
        }
        | DeliverError::SourceChanged { .. }
        | DeliverError::Mismatch { .. } => false,
        DeliverError::Store { cause, .. } => cause.class() != Class::Permanent,
        DeliverError::Source(file) => !file.is_missing(),
        other => other.class() != Class::Permanent,
    }
}

/// What the beginning of an upload says besides. Azure is told that at the end.
pub(super) fn begin_options(backend: &Backend, attributes: &Attributes) -> PutMultipartOptions {
    if backend.resigner.is_some() {
        return PutMultipartOptions::default();
    }
    let (attributes, tags) = (attributes.clone(), backend.tags.clone());
    PutMultipartOptions { attributes, tags, ..PutMultipartOptions::default() }
}

/// What the end of an upload says besides.
pub(super) fn end_headers(backend: &Backend, attributes: &Attributes, is_create_only: bool) -> CompletionHeaders {
    let resigner = backend.resigner.clone();
    let headers = resigner.as_ref().map_or_else(Vec::new, |_| block_list_headers(attributes, &backend.tags));
    CompletionHeaders { is_create_only, headers, resigner }
}

/// Aborts an upload; one that is not there is a success.
pub(super) async fn abort(bucket: &Bucket, key: &str, id: &str) -> Result<()> {
    let path = key_of(key);
    let id = id.to_owned();
    let aborted = bucket.call(Verb::Abort, key, bucket.backend.parts.abort_multipart(&path, &id));
    match tokio::time::timeout(ABORT_TIMEOUT, aborted).await {
        Ok(Err(error)) if !is_gone(&error) => {
            tracing::debug!(target = %bucket.target, key, error = crate::fault::chain(&error), "upload not aborted");
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Aborts the upload of a head; one whose id never arrived is looked for by its key.
///
/// Where a permission is missing it is left to the bucket's lifecycle rule: it must not hold up the delivery.
pub(super) async fn throw_away(bucket: &Bucket, head: &UploadRow, ledger: &dyn Ledger) -> Result<()> {
    match &head.upload_id {
        Some(id) => tolerated(abort(bucket, &head.key, id).await),
        None => throw_away_but(bucket, head, None, ledger).await,
    }
}

/// Aborts every upload to a head's key but one and those that the ledger knows: what is left are those whose answers
/// were lost.
async fn throw_away_but(bucket: &Bucket, head: &UploadRow, kept: Option<&str>, ledger: &dyn Ledger) -> Result<()> {
    let open = match bucket.open_uploads(&head.key).await {
        Err(error) if error.class() == Class::Environment => Vec::new(),
        open => open?,
    };
    let known: Vec<_> = heads(ledger)?.into_iter().filter_map(|head| head.upload_id).collect();
    let is_known = |id: &String| Some(id.as_str()) == kept || known.contains(id);
    let is_ours = |u: &&OpenUpload| u.key == key_of(&head.key).as_ref() && !is_known(&u.upload_id);
    for upload in open.iter().filter(is_ours) {
        tolerated(abort(bucket, &head.key, &upload.upload_id).await)?;
    }
    Ok(())
}

fn tolerated(aborted: Result<()>) -> Result<()> {
    match aborted {
        Err(error) if error.class() == Class::Environment => Ok(()),
        other => other,
    }
}

/// Compares the checksum that the answer to a part carries; ours and theirs if they differ.
fn confirm(
    bucket: &Bucket,
    index: u64,
    bytes: &Bytes,
    id: PartId,
    answer: Option<&ResponseHead>,
) -> std::result::Result<PartRow, (String, String)> {
    let provider = bucket.backend.provider;
    let header = |name: &str| answer.and_then(|a| a.header(name)).map(str::to_owned);
    let mode = bucket.backend.checksum;
    let mut sums = PartSums::of(provider, mode, bytes, answer.and_then(|answer| answer.sent_crc64.as_deref()));
    let (ours, theirs) = match provider {
        Provider::S3 if mode == ChecksumMode::Sha256 => {
            (sums.sha256_text(), text_of(&id.content_id, "checksum_sha256"))
        }
        Provider::S3 => (sums.crc64_as(provider), text_of(&id.content_id, "checksum_crc64nvme")),
        Provider::Azure => (sums.crc64_as(provider), header("x-ms-content-crc64")),
        Provider::Gcs => {
            let said = header("x-goog-hash").and_then(|h| super::checksum::goog_crc32c(&h));
            (sums.crc32c_text(), said)
        }
        Provider::Disk => (None, None),
    };
    let confirmed = match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => return Err((ours, theirs)),
        (Some(_), Some(_)) => true,
        _ => false,
    };
    if !confirmed && provider == Provider::S3 && mode != ChecksumMode::None {
        // The entity tag of the whole is made of these.
        sums.add_md5(bytes);
    }
    Ok(PartRow { index, size_bytes: bytes.len() as u64, content_id: id.content_id, sums, confirmed })
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, pending, ready};

    use futures::future::Either;

    use super::super::TargetOptions;
    use super::super::conditions::ConditionSupport;
    use super::super::ledger::tests::MemoryLedger;
    use super::super::source::UploadSource;
    use super::super::tags::TagSupport;
    use super::super::transfer::UploadContext;
    use super::*;
    use crate::recording::AssetFile;
    use crate::stop::Stop;

    fn sent(index: u64, result: object_store::Result<PartId>) -> SentPart {
        SentPart { index, bytes: Bytes::from_static(b"part"), result, answer: None }
    }

    fn acknowledged(index: u64) -> SentPart {
        sent(index, Ok(PartId { content_id: format!("part {index}") }))
    }

    #[test]
    fn all_that_were_answered_by_now_are_taken_and_no_other_is_waited_for() {
        let mut in_flight = FuturesUnordered::<Either<Ready<SentPart>, std::future::Pending<SentPart>>>::new();
        in_flight.push(Either::Right(pending()));
        in_flight.extend([2, 3].map(|index| Either::Left(ready(acknowledged(index)))));
        let mut taken: Vec<_> = all_ready(acknowledged(1), &mut in_flight).iter().map(|sent| sent.index).collect();
        taken.sort_unstable();
        assert_eq!((taken, in_flight.len()), (vec![1, 2, 3], 1));
    }

    #[test]
    fn what_was_acknowledged_is_noted_although_another_part_failed_at_the_same_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"partpartpart").unwrap();
        let fingerprint = crate::durable::fingerprint(file.path()).unwrap();
        let source = UploadSource::open(&AssetFile::new(file.path().to_owned(), fingerprint)).unwrap();
        let backend = Backend::in_memory(&TargetOptions::new("cloud", "s3://b"), &std::sync::Arc::default());
        let (conditions, tags) = (ConditionSupport::default(), TagSupport::default());
        let bucket = Bucket { target: "cloud".into(), backend, conditions, tags };
        let (ledger, cancel, buffers) =
            (MemoryLedger::default(), Stop::default(), super::super::buffers::Buffers::default());
        let ctx = UploadContext { cancel: &cancel, progress: &|_| (), buffers: &buffers, ledger: &ledger };
        let transfer = Transfer { bucket: &bucket, key: "x", source: &source, asset_id: "id", ctx: &ctx };
        let plan = PartPlan { size_bytes: 12, part_bytes: 4 };
        let mut upload = MultipartState { id: "u".into(), plan, parts: BTreeMap::new(), is_continued: false };
        let lost = object_store::Error::Generic { store: "test", source: "connection reset".into() };
        let failed = transfer.take(&mut upload, vec![acknowledged(0), sent(1, Err(lost)), acknowledged(2)]);
        assert!(matches!(failed, Err(DeliverError::Store { .. })), "{failed:?}");
        assert_eq!(upload.parts.keys().collect::<Vec<_>>(), [&0, &2]);
        let rows = ledger.0.lock().unwrap();
        assert_eq!(rows.keys().map(|row| &row[row.len() - 6..]).collect::<Vec<_>>(), ["/00000", "/00002"]);
    }
}
