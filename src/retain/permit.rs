//! The permit to free a local file: granted by one pure function, from facts, or refused with the reason (promise 3).
//!
//! Nothing else can make a [`Permit`], and `free` wants one. The record must have been read back from the catalogue
//! after it was flushed; what is only in memory proves nothing.

use std::path::{Path, PathBuf};

use super::{DeleteLocal, RetainOptions};
use crate::recording::name::printable;
use crate::recording::{
    Asset, Defect, Delivery, DeliveryState, FileVersion, Fingerprint, Kind, Kinds, RemoteObject, VodRecord,
};

/// What the decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct PermitFacts<'a> {
    /// The record as read back from the catalogue.
    pub record: &'a VodRecord,
    /// Every delivery of this VoD and of what belongs to it, as read back from the catalogue.
    pub deliveries: &'a [Delivery],
    /// Names of the targets that "delivered" needs.
    pub required: &'a [String],
    /// Which kinds of files are uploaded at all.
    pub uploaded: Kinds,
    /// What the finished file is now; `None` if it is not there.
    pub seen_now: Option<FileVersion>,
    /// What the stores said of the objects when they were asked again.
    pub confirmed: &'a [Confirmation],
    /// What was found when the targets were compared with the roots.
    pub views: &'a [TargetView],
    /// Bytes free now on its file system.
    pub free_bytes: u64,
    /// Bytes of all finished recordings that are still on disk.
    pub held_bytes: u64,
    /// The endpoint that is to see the local file and is not done with it, if there is one.
    pub awaited_by: Option<&'a str>,
    /// The time now, milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// How old a store's answer may be when a file is freed by it, milliseconds. Days may lie between a proof and the freeing.
pub const ANSWER_MAX_AGE_MS: u64 = 60_000;

/// A store's answer that an object is still what its delivery proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Name of the target.
    pub target: String,
    /// Key of the object.
    pub key: String,
    /// How old the answer is, milliseconds of a clock that nobody sets.
    pub age_ms: u64,
    /// Whether more than the size was compared.
    pub beyond_size: bool,
}

/// How old the finding that a target is apart from a root may be when a file is freed by it, milliseconds: mounts change seldom.
pub const VIEW_MAX_AGE_MS: u64 = 3_600_000;

/// Whether a target is another view of a root: then its objects are the recordings themselves, and no copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetView {
    /// Name of the target.
    pub target: String,
    /// The root.
    pub root: PathBuf,
    /// Whether the target was found to be apart from the root.
    pub is_apart: bool,
    /// How old that is, milliseconds of a clock that nobody sets.
    pub age_ms: u64,
}

/// An object that must be confirmed before a file is freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmationRequest {
    /// The delivery that proved it.
    pub delivery_id: String,
    /// The object as it was proven.
    pub object: RemoteObject,
    /// Whether it is a copy of the finished file, and not of what belongs to it.
    pub is_finished: bool,
}

/// A file that may go, and the objects that prove it.
#[derive(Debug, PartialEq, Eq)]
struct ProvenFile {
    path: PathBuf,
    /// As it was read for all its objects; `None` where that was not noted, or the file was touched since.
    seen: Option<FileVersion>,
    bytes: u64,
    objects: Vec<ConfirmationRequest>,
}

/// What may be freed as soon as the stores confirm it. Pure; made by [`due`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DueFree {
    vod_id: String,
    finished: ProvenFile,
    companions: Vec<ProvenFile>,
}

impl DueFree {
    /// Id of the VoD.
    pub fn vod_id(&self) -> &str {
        &self.vod_id
    }

    /// The finished file.
    pub fn path(&self) -> &Path {
        &self.finished.path
    }

    /// Bytes of the finished file.
    pub fn finished_bytes(&self) -> u64 {
        self.finished.bytes
    }

    /// Bytes that it frees.
    pub fn bytes(&self) -> u64 {
        self.companions.iter().chain([&self.finished]).map(|file| file.bytes).sum()
    }
}

/// The right to free one finished file and what belongs to it. Cannot be made but by [`permit`].
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    vod_id: String,
    finished: (PathBuf, FileVersion),
    companions: Vec<(PathBuf, FileVersion)>,
}

impl Permit {
    /// Id of the VoD.
    pub fn vod_id(&self) -> &str {
        &self.vod_id
    }

    /// The finished file.
    pub fn path(&self) -> &Path {
        &self.finished.0
    }

    /// What the finished file must still be.
    pub fn seen(&self) -> FileVersion {
        self.finished.1
    }

    /// What it frees, companions (kept original, poster) first, and what each must still be.
    pub fn files(&self) -> impl Iterator<Item = (&Path, FileVersion)> {
        self.companions.iter().chain([&self.finished]).map(|(path, seen)| (path.as_path(), *seen))
    }
}

/// Why a local file stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeepReason {
    /// `delete_local = "never"`.
    #[error("local files are never freed (`delete_local = \"never\"`)")]
    Policy,
    /// `protect` names its stream.
    #[error("stream `{0}` is protected (`protect`)")]
    Protected(String),
    /// What the store holds was later found to be something else.
    #[error("target `{target}` no longer holds the proven object: {difference}")]
    Differs {
        /// Name of the target.
        target: String,
        /// What `vod verify` found.
        difference: String,
    },
    /// The recordings on disk are not too many.
    #[error("the recordings on disk are {held_bytes} bytes, no more than `max_bytes`")]
    WithinMax {
        /// Their bytes now.
        held_bytes: u64,
    },
    /// There is no required target, so that nothing can count as delivered.
    #[error("there is no required target")]
    NoRequiredTarget,
    /// The mask leaves finished recordings out.
    #[error("finished recordings are not uploaded (`upload_extensions`)")]
    KindNotUploaded,
    /// It was freed before.
    #[error("it is already freed")]
    AlreadyFreed,
    /// The file is not where the record says.
    #[error("the local file does not exist")]
    LocalMissing,
    /// The file is not the one that the record describes.
    #[error("the local file has changed since it was catalogued")]
    LocalChanged,
    /// A required target does not hold it.
    #[error("target `{0}` does not hold it yet")]
    NotDelivered(String),
    /// The object's size is not the file's.
    #[error("target `{target}` reports {remote_bytes} bytes, the file has {local_bytes}")]
    SizeDiffers {
        /// Name of the target.
        target: String,
        /// What the store reports.
        remote_bytes: u64,
        /// What is on disk.
        local_bytes: u64,
    },
    /// The store reported no checksum that could be compared.
    #[error("target `{0}` confirmed only the size, not a checksum (`accept_size_only` would allow it)")]
    NoChecksum(String),
    /// The object was made from another state of the file.
    #[error("the copy in target `{0}` was made from another state of the file")]
    OtherSource(String),
    /// Owner, mode, a link or the content changed since the file was read, or an older version did not note the change time.
    #[error("the local file was touched since its upload to target `{0}`; it is compared with the copy again first")]
    Touched(String),
    /// An upload to another target has not been tried yet.
    #[error("not yet uploaded to target `{0}`")]
    StillNeeded(String),
    /// The store has not confirmed the object within the last minute.
    #[error("target `{0}` has not confirmed the copy within the last minute")]
    NotConfirmed(String),
    /// The target's objects are the files of the root.
    #[error(
        "target `{target}` is another view of `{}`: its objects are the recordings themselves, not copies",
        printable(root)
    )]
    View {
        /// Name of the target.
        target: String,
        /// The root.
        root: PathBuf,
    },
    /// It is not known whether the target's objects are the files of the root.
    #[error("target `{0}` is not yet verified to be separate from the recording directory")]
    NotApart(String),
    /// An endpoint that is to see the local file is not done with it.
    #[error("`{0}` still needs the local file (`announce.hold` for endpoints, at most 1 h for pictures)")]
    Awaited(String),
    /// The time has not come.
    #[error("its retention time has not passed")]
    TooEarly {
        /// When it has, milliseconds since the Unix epoch.
        due_ms: i64,
    },
    /// There is room enough.
    #[error("enough disk space: {free_bytes} bytes are free")]
    EnoughRoom {
        /// Bytes free now.
        free_bytes: u64,
    },
}

/// Grants the permit to free a VoD's local files, or says why not. That the stores have to confirm, and to be apart from the
/// root, is asked last, so that these refusals mean: everything else is as it must be.
pub fn permit(facts: &PermitFacts<'_>, options: &RetainOptions) -> Result<Permit, KeepReason> {
    let DueFree { vod_id, finished, companions } = due(facts, options)?;
    let Some(seen) = finished.seen else {
        return Err(KeepReason::Touched(finished.objects.first().map(|q| q.object.target.clone()).unwrap_or_default()));
    };
    if let Some(unconfirmed) = finished.objects.iter().find(|question| !is_confirmed(question, facts, options)) {
        return Err(KeepReason::NotConfirmed(unconfirmed.object.target.clone()));
    }
    if let Some(target) = not_apart(facts).next() {
        return Err(KeepReason::NotApart(target.to_owned()));
    }
    let may_go = |file: &ProvenFile| file.objects.iter().all(|question| is_confirmed(question, facts, options));
    let companions = companions.into_iter().filter(may_go).filter_map(|file| Some((file.path, file.seen?))).collect();
    Ok(Permit { vod_id, finished: (finished.path, seen), companions })
}

/// The objects that the stores have to confirm before the permit can be granted; empty where it is refused anyway.
pub fn questions(facts: &PermitFacts<'_>, options: &RetainOptions) -> Vec<ConfirmationRequest> {
    let Ok(DueFree { finished, companions, .. }) = due(facts, options) else { return Vec::new() };
    if finished.seen.is_none() {
        return Vec::new();
    }
    let all = std::iter::once(finished).chain(companions).filter(|file| file.seen.is_some());
    all.flat_map(|file| file.objects).filter(|question| !is_confirmed(question, facts, options)).collect()
}

/// The targets that have to be compared with the root before the permit can be granted; empty where it is refused anyway.
pub fn to_be_looked_at(facts: &PermitFacts<'_>, options: &RetainOptions) -> Vec<String> {
    match permit(facts, options) {
        Err(KeepReason::NotApart(_)) => not_apart(facts).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The required targets that were not found to be apart from the root lately.
fn not_apart<'a>(facts: &'a PermitFacts<'_>) -> impl Iterator<Item = &'a str> {
    let is_apart = |target: &str| {
        let of_it = facts.views.iter().filter(|v| v.target == target && v.root == facts.record.root);
        of_it.clone().count() > 0 && of_it.clone().all(|v| v.is_apart && v.age_ms <= VIEW_MAX_AGE_MS)
    };
    facts.required.iter().map(String::as_str).filter(move |target| !is_apart(target))
}

/// The deliveries of files that may go as soon as they have been compared with their objects again.
pub fn to_be_compared(facts: &PermitFacts<'_>, options: &RetainOptions) -> Vec<String> {
    let Ok(DueFree { finished, companions, .. }) = due(facts, options) else { return Vec::new() };
    let touched = std::iter::once(finished).chain(companions).filter(|file| file.seen.is_none());
    touched.flat_map(|file| file.objects).map(|question| question.delivery_id).collect()
}

fn is_confirmed(question: &ConfirmationRequest, facts: &PermitFacts<'_>, options: &RetainOptions) -> bool {
    facts.confirmed.iter().any(|answer| {
        (&answer.target, &answer.key) == (&question.object.target, &question.object.key)
            && answer.age_ms <= ANSWER_MAX_AGE_MS
            && (answer.beyond_size || options.accept_size_only)
    })
}

/// What may be freed as soon as the stores confirm it, or why not.
pub(super) fn due(facts: &PermitFacts<'_>, options: &RetainOptions) -> Result<DueFree, KeepReason> {
    let record = facts.record;
    if record.freed_at.is_some() {
        return Err(KeepReason::AlreadyFreed);
    }
    if options.protects(&record.stream_id) {
        return Err(KeepReason::Protected(record.stream_id.clone()));
    }
    let proven_ms = proven_since(facts, options)?;
    let shows = |v: &&TargetView| !v.is_apart && v.root == record.root && facts.required.contains(&v.target);
    if let Some(view) = facts.views.iter().find(shows) {
        return Err(KeepReason::View { target: view.target.clone(), root: view.root.clone() });
    }
    is_due(options.delete_local, facts, proven_ms)?;
    if let Some(endpoint) = facts.awaited_by {
        return Err(KeepReason::Awaited(endpoint.to_owned()));
    }
    let copies = facts.required.iter().filter_map(|target| record.remote_in(target));
    let question = |object: &RemoteObject| ConfirmationRequest {
        delivery_id: Delivery::id_of(&record.vod_id, &object.target),
        object: object.clone(),
        is_finished: true,
    };
    let objects: Vec<_> = copies.map(question).collect();
    let seen = facts.seen_now.filter(|now| is_untouched(&objects, *now));
    let finished = ProvenFile { path: record.file_path.clone(), seen, bytes: record.fingerprint.size_bytes, objects };
    Ok(DueFree { vod_id: record.vod_id.clone(), finished, companions: companions(facts, options) })
}

/// Whether each object was made from a file as it is now, told by the change time too: a rewrite may have put length and
/// modification time back, and another file may have got the number of the inode.
fn is_untouched(objects: &[ConfirmationRequest], now: FileVersion) -> bool {
    objects.iter().all(|question| question.object.source_changed_ns == Some(now.changed_ns))
}

/// Since when every required target is proven to hold the file that is on disk now, or why it is not.
pub(super) fn proven_since(facts: &PermitFacts<'_>, options: &RetainOptions) -> Result<i64, KeepReason> {
    let record = facts.record;
    if facts.required.is_empty() {
        return Err(KeepReason::NoRequiredTarget);
    }
    if !facts.uploaded.contains(Kind::Recording) {
        return Err(KeepReason::KindNotUploaded);
    }
    let now = facts.seen_now.ok_or(KeepReason::LocalMissing)?.fingerprint;
    if now != record.fingerprint || now.size_bytes != record.file_size {
        return Err(KeepReason::LocalChanged);
    }
    let since = facts.required.iter().map(|target| {
        let object = record.remote_in(target).ok_or_else(|| KeepReason::NotDelivered(target.clone()))?;
        is_proof(object, now, options).map(|()| object.verified_ms)
    });
    let since = since.collect::<Result<Vec<_>, _>>()?;
    match still_needed(facts) {
        Some(target) => Err(KeepReason::StillNeeded(target.to_owned())),
        None => Ok(since.into_iter().max().unwrap_or(i64::MAX)),
    }
}

/// Whether an object proves that the file with this fingerprint is in its store.
fn is_proof(object: &RemoteObject, now: Fingerprint, options: &RetainOptions) -> Result<(), KeepReason> {
    let target = object.target.clone();
    let has_checksum = object.checksum_compared && object.checksum.is_some();
    if let Some(difference) = object.differs.clone() {
        return Err(KeepReason::Differs { target, difference });
    }
    match () {
        // The store's size was compared with that of the copy when it was sent.
        () if object.size_bytes != now.size_bytes && !object.is_progressive_copy => {
            Err(KeepReason::SizeDiffers { target, remote_bytes: object.size_bytes, local_bytes: now.size_bytes })
        }
        () if object.source != now => Err(KeepReason::OtherSource(target)),
        () if !has_checksum && !options.accept_size_only => Err(KeepReason::NoChecksum(target)),
        () => Ok(()),
    }
}

/// A target that still waits for a first try with the finished file. A target that is not required and has failed once
/// does not hold the file back; it is not what "delivered" means.
fn still_needed<'a>(facts: &PermitFacts<'a>) -> Option<&'a str> {
    let of_file = facts.deliveries.iter().filter(|d| holds(&d.asset, &facts.record.file_path));
    // What is said of one that was never tried is why it waits.
    let is_untried = |d: &&Delivery| match &d.state {
        DeliveryState::Waiting { last_fault, .. } => d.attempts == 0 || last_fault.is_none(),
        _ => false,
    };
    let untried = of_file.filter(is_untried);
    untried.map(|d| d.target.as_str()).next()
}

fn holds(asset: &Asset, path: &Path) -> bool {
    asset.files.iter().any(|f| f.path == path)
}

fn is_due(policy: DeleteLocal, facts: &PermitFacts<'_>, proven_ms: i64) -> Result<(), KeepReason> {
    match policy {
        DeleteLocal::Never => Err(KeepReason::Policy),
        DeleteLocal::Delivered => Ok(()),
        DeleteLocal::After(age) => {
            let due_ms = proven_ms.saturating_add(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            if facts.now_ms >= due_ms { Ok(()) } else { Err(KeepReason::TooEarly { due_ms }) }
        }
        DeleteLocal::BelowFree(watermark) if facts.free_bytes < watermark => Ok(()),
        DeleteLocal::MaxBytes(max) if facts.held_bytes > max => Ok(()),
        DeleteLocal::MaxBytes(_) => Err(KeepReason::WithinMax { held_bytes: facts.held_bytes }),
        DeleteLocal::BelowFree(_) => Err(KeepReason::EnoughRoom { free_bytes: facts.free_bytes }),
    }
}

/// The kept original and the poster, each only if itself delivered to every required target and proven.
///
/// An original of which something was left out of the finished file stays in any case (promise 7).
fn companions(facts: &PermitFacts<'_>, options: &RetainOptions) -> Vec<ProvenFile> {
    let record = facts.record;
    let is_whole = !record.defects.iter().any(Defect::leaves_something_out);
    let original = record.original_path.as_ref().filter(|_| is_whole);
    let pictures =
        record.pictures.files().map(|file| &file.path).filter(|path| Some(*path) != record.preview_file_path.as_ref());
    let paths = original.into_iter().chain(&record.preview_file_path).chain(pictures);
    let paths = paths.filter(|p| **p != record.file_path);
    paths.filter_map(|path| companion(path, facts, options)).collect()
}

/// A companion as it was proven in every required target.
fn companion(path: &Path, facts: &PermitFacts<'_>, options: &RetainOptions) -> Option<ProvenFile> {
    let proven = facts.required.iter().map(|target| {
        let of_target = facts.deliveries.iter().filter(|d| d.target == *target);
        of_target.filter(|d| facts.uploaded.contains(d.asset.kind)).find_map(|d| proven_in(d, path, options))
    });
    let proven: Vec<(Fingerprint, ConfirmationRequest)> = proven.collect::<Option<_>>()?;
    let fingerprint = proven.first()?.0;
    let is_one = proven.iter().all(|(other, _)| *other == fingerprint);
    let objects: Vec<_> = proven.into_iter().map(|(_, question)| question).collect();
    let changed_ns = objects.first().and_then(|question| question.object.source_changed_ns);
    let seen = changed_ns
        .map(|changed_ns| FileVersion { fingerprint, changed_ns })
        .filter(|seen| is_untouched(&objects, *seen));
    is_one.then(|| ProvenFile { path: path.to_owned(), seen, bytes: fingerprint.size_bytes, objects })
}

fn proven_in(delivery: &Delivery, path: &Path, options: &RetainOptions) -> Option<(Fingerprint, ConfirmationRequest)> {
    let DeliveryState::Delivered { objects } = &delivery.state else { return None };
    let belongs = delivery.asset.files.iter().zip(objects).find(|(file, _)| file.path == path);
    let (file, object) = belongs?;
    let is_proven = object.target == delivery.target && is_proof(object, file.fingerprint, options).is_ok();
    let question =
        || ConfirmationRequest { delivery_id: delivery.id.clone(), object: object.clone(), is_finished: false };
    is_proven.then(|| (file.fingerprint, question()))
}
