//! The targets of a configuration and the blocking face of this room.
//!
//! Every method blocks its thread until it is done and may be called from several threads at
//! once, but not from inside another asynchronous runtime. It ends soon after a stop is requested. It must not retry for long:
//! the delivery queue does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

use super::asking::{self, ProofCheck};
use super::attributes::header_text;
use super::backend;
use super::bucket::{Bucket, StoredObject};
use super::buffers::Buffers;
use super::checksum::ReportedChecksum;
use super::conditions::ConditionSupport;
use super::credentials::Environment;
use super::directory::DirectoryTarget;
use super::doctor::{self, TargetCheck};
use super::error::{DeliverError, Result};
use super::inventory::{self, InventoryObject, InventoryScan};
use super::ledger::{Ledger, NullLedger, UploadRow, UploadRows, distrusted_row, heads};
use super::location::TargetLocation;
use super::multipart::{abort, throw_away};
use super::network::NetworkRuntime;
use super::parts::PART_MIN_BYTES;
use super::tags::TagSupport;
use super::transfer::UploadContext;
use super::view::VisibleRoot;
use super::wire::OpenUpload;
use super::{DeliverOptions, TargetOptions, upload, verify, view};
use crate::clock::Clock;
use crate::durable;
use crate::recording::{Asset, RemoteObject};
use crate::runtime::Runtime;
use crate::stop::Stop;

/// All configured targets.
#[derive(Debug)]
pub struct Targets {
    all: Vec<ConfiguredTarget>,
    pub(super) network: NetworkRuntime,
    clock: Clock,
}

/// A target of the configuration.
#[derive(Debug)]
struct ConfiguredTarget {
    name: String,
    required: bool,
    opened: OpenedTarget,
}

#[derive(Debug)]
enum OpenedTarget {
    Yes(Box<Target>),
    /// It cannot work as it is configured; whoever needs it is told so.
    No {
        problem: String,
        advice: String,
    },
}

#[derive(Debug)]
pub(super) struct Target {
    pub options: TargetOptions,
    pub place: TargetLocation,
    pub store: TargetStore,
    /// Its own, so that a target that has come to a standstill holds up no other.
    pub buffers: Buffers,
    /// Which asset is being put under which key now: two must not find one key free at the same time.
    pub claims: Mutex<HashMap<String, String>>,
}

#[derive(Debug)]
pub(super) enum TargetStore {
    Bucket(Box<Bucket>),
    Directory(DirectoryTarget),
}

/// An object as the store reports it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteState {
    /// Its size.
    pub size_bytes: u64,
    /// Its entity tag, if it has one.
    pub etag: Option<String>,
    /// Its version, if the bucket keeps versions.
    pub version: Option<String>,
    /// `algorithm:value` of the whole object, if the store reports one.
    pub checksum: Option<String>,
    /// When it was last written, milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

/// How an object differs from its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In words, to be read after the object's address.
    pub words: String,
    /// Whether there is no object any more.
    pub is_missing: bool,
    /// Whether the object's bytes had to be read to find it.
    pub when_read: bool,
}

/// What became of an object that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is removed.
    Removed,
    /// It was not there.
    NotThere,
    /// Under its key stands something else, which was left as it is.
    Left {
        /// How that differs from what was proven.
        difference: String,
    },
}

impl RemoteState {
    /// Whether it still is what a delivery proved; what neither side knows is not compared. Where the checksums are the same
    /// the entity tag is not asked: somebody may have copied the object onto itself.
    pub fn agrees_with(&self, proven: &RemoteObject) -> bool {
        if self.size_bytes != proven.size_bytes {
            return false;
        }
        self.is_same_beyond_size(proven).unwrap_or(true)
    }

    /// Whether more than the size can be compared with what a delivery proved.
    pub(super) fn compares_with(&self, proven: &RemoteObject) -> bool {
        self.is_same_beyond_size(proven).is_some()
    }

    /// By the checksums, else the entity tags, else the versions; `None` where no pair of them is known.
    fn is_same_beyond_size(&self, proven: &RemoteObject) -> Option<bool> {
        let same = |now: &Option<String>, then: &Option<String>| now.as_ref().zip(then.as_ref()).map(|(n, t)| n == t);
        match (&self.checksum, &proven.checksum) {
            (Some(now), Some(then)) if verify::algorithm(now) == verify::algorithm(then) => Some(now == then),
            _ => same(&self.etag, &proven.etag).or_else(|| same(&self.version, &proven.version)),
        }
    }
}

impl From<StoredObject> for RemoteState {
    fn from(held: StoredObject) -> Self {
        Self {
            size_bytes: held.size_bytes,
            etag: held.etag,
            version: held.version,
            checksum: held.reported.map(|r| r.to_string()),
            modified_ms: held.modified_ms,
        }
    }
}

/// Size and modification time of a file in a directory.
impl From<(u64, i64)> for RemoteState {
    fn from((size_bytes, modified_ms): (u64, i64)) -> Self {
        Self { size_bytes, etag: None, version: None, checksum: None, modified_ms }
    }
}

impl Targets {
    /// Reads and checks the targets of a configuration, whose calls are to run there. Nothing is reached over the network and
    /// no directory is made.
    pub fn open(options: &DeliverOptions, runtime: &Runtime) -> Result<Self> {
        let environment = Environment::of_process();
        let open_one = |target: &TargetOptions| {
            Target::open(target, options.concurrency, &environment).map(ConfiguredTarget::from)
        };
        Self::of(options.targets.iter().map(open_one).collect::<Result<_>>()?, runtime)
    }

    /// The same for a command that asks nothing of a store: a target without credentials is no hindrance to it, and an error
    /// only where it is used after all.
    pub fn open_to_look(options: &DeliverOptions, runtime: &Runtime) -> Result<Self> {
        let environment = Environment::of_process();
        let open_one = |target: &TargetOptions| match Target::open(target, options.concurrency, &environment) {
            Err(DeliverError::Configuration { problem, advice, .. }) => {
                let opened = OpenedTarget::No { problem, advice };
                Ok(ConfiguredTarget { name: target.name.clone(), required: target.required, opened })
            }
            other => other.map(ConfiguredTarget::from),
        };
        Self::of(options.targets.iter().map(open_one).collect::<Result<_>>()?, runtime)
    }

    /// Every call ends soon after this stop is requested.
    #[must_use]
    pub fn stopped_by(mut self, stop: &Stop) -> Self {
        self.network.stop = stop.clone();
        self
    }

    /// When a copy was proven is told by this clock.
    #[must_use]
    pub fn timed_by(mut self, clock: &Clock) -> Self {
        self.clock = clock.clone();
        self
    }

    pub(super) fn with(target: Target, runtime: &Runtime) -> Result<Self> {
        Self::of(vec![target.into()], runtime)
    }

    fn of(targets: Vec<ConfiguredTarget>, runtime: &Runtime) -> Result<Self> {
        for (i, target) in targets.iter().enumerate() {
            if targets[..i].iter().any(|t| t.name == target.name) {
                let advice = "Give every target a unique name.";
                return Err(DeliverError::configuration(&target.name, "two targets have this name", advice));
            }
        }
        let network = NetworkRuntime { runtime: runtime.clone(), stop: Stop::default() };
        Ok(Self { all: targets, network, clock: Clock::default() })
    }

    /// Names of all targets, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|t| t.name.as_str())
    }

    /// Names of the targets that "delivered" needs.
    pub fn required(&self) -> Vec<String> {
        self.all.iter().filter(|t| t.required).map(|t| t.name.clone()).collect()
    }

    /// Puts an asset into a target and gives what the store confirmed, one object per file, in their order.
    ///
    /// What is there already is adopted, so that a repeated call sends one request per object. `date` is the start date
    /// (`YYYY-MM-DD`, in the configured time zone) for `{date}` in keys. `cancel` stops it within a moment; `progress`
    /// is told of every further stretch of bytes that the store has acknowledged. `ledger` keeps the state of multipart
    /// uploads: a later call continues at the first missing part. Its rows stay until [`Targets::forget`].
    pub fn upload(
        &self,
        target: &str,
        asset: &Asset,
        date: &str,
        cancel: &Stop,
        progress: &dyn Fn(u64),
        ledger: &dyn Ledger,
    ) -> Result<Vec<RemoteObject>> {
        let target = self.find(target)?;
        let ctx = UploadContext { cancel, progress, buffers: &target.buffers, ledger };
        self.network.until_stopped(upload::deliver(target, asset, date, &ctx, &self.clock))
    }

    /// Forgets the state of the uploads of an asset's objects; to be called once their proof is in the catalogue.
    pub fn forget(&self, asset_id: &str, objects: &[RemoteObject], ledger: &dyn Ledger) -> Result<()> {
        let asset_id = header_text(asset_id);
        objects.iter().try_for_each(|o| UploadRows::of(ledger, &o.target, &o.key, &asset_id).forget())
    }

    /// Aborts the uploads of ours that nobody will continue: their source changed or went, or nobody waits for them. `awaits`
    /// is asked with an asset's id and a target's name. Returns how many were given up; what a store refuses stays noted.
    pub fn abort_stale(&self, ledger: &dyn Ledger, awaits: &dyn Fn(&str, &str) -> bool) -> Result<usize> {
        let mut given_up = 0;
        for head in heads(ledger)? {
            let is_same = durable::fingerprint(&head.path).is_ok_and(|now| now == head.source);
            if is_same && awaits(&head.asset_id, &head.target) {
                continue;
            }
            let Ok(Target { store: TargetStore::Bucket(bucket), .. }) = self.find(&head.target) else { continue };
            match self.network.until_stopped(throw_away(bucket, &head, ledger)) {
                Ok(()) => forget_this(ledger, &head)?,
                Err(error) => {
                    tracing::debug!(target = %head.target, key = %head.key, error = crate::fault::chain(&error), "abandoned upload not aborted");
                }
            }
            given_up += 1;
        }
        Ok(given_up)
    }

    /// The multipart uploads below a target's prefix that were begun and never ended, without those that we continue
    /// ourselves.
    pub fn open_uploads(&self, target: &str, ledger: &dyn Ledger) -> Result<Vec<OpenUpload>> {
        let target = self.find(target)?;
        let TargetStore::Bucket(bucket) = &target.store else { return Ok(Vec::new()) };
        let prefix = target.place.prefix();
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let ours: Vec<_> = heads(ledger)?.into_iter().filter_map(|head| head.upload_id).collect();
        let mut open = self.network.until_stopped(bucket.open_uploads(&prefix))?;
        open.retain(|upload| !ours.contains(&upload.upload_id));
        Ok(open)
    }

    /// Aborts an upload that [`Targets::open_uploads`] listed; its absence is a success.
    pub fn abort_upload(&self, target: &str, upload: &OpenUpload) -> Result<()> {
        match &self.find(target)?.store {
            TargetStore::Bucket(bucket) => self.network.until_stopped(abort(bucket, &upload.key, &upload.upload_id)),
            TargetStore::Directory(_) => Ok(()),
        }
    }

    /// What a target reports of an object now; `None` if it has none.
    pub fn head(&self, target: &str, key: &str) -> Result<Option<RemoteState>> {
        match &self.find(target)?.store {
            TargetStore::Directory(directory) => Ok(directory.head(key)?.map(RemoteState::from)),
            TargetStore::Bucket(bucket) => Ok(self.network.until_stopped(bucket.head(key))?.map(RemoteState::from)),
        }
    }

    /// Looks through a target for finished recordings of ours that `is_known` does not know by their keys. `counted` is told how
    /// many objects are going to be asked, before any is.
    pub fn recordings_in(
        &self,
        target: &str,
        is_known: &dyn Fn(&str) -> bool,
        (cancel, now_ms): (&Stop, i64),
        counted: &dyn Fn(usize),
        each: &mut dyn FnMut(InventoryObject),
    ) -> Result<()> {
        let found = self.find(target)?;
        let look = InventoryScan { target, place: &found.place, now_ms, cancel, is_known };
        match &found.store {
            TargetStore::Directory(directory) => inventory::of_directory(directory, &look, counted, each),
            TargetStore::Bucket(bucket) => {
                self.network.until_stopped(inventory::of_bucket(bucket, &look, counted, each))
            }
        }
    }

    /// Asks the store whether an object is still what its delivery proved, right before its local file is freed. Gives up
    /// soon: without an answer the local file stays.
    pub fn ask(&self, proven: &RemoteObject, cancel: &Stop) -> Result<ProofCheck> {
        let target = self.find(&proven.target)?;
        let ctx = UploadContext { cancel, progress: &|_| (), buffers: &target.buffers, ledger: &NullLedger };
        match &target.store {
            TargetStore::Directory(directory) => asking::ask_directory(directory, proven, &ctx),
            TargetStore::Bucket(bucket) => self.network.until_stopped(asking::ask_bucket(bucket, proven, &ctx)),
        }
    }

    /// Which of these roots a target shows: its objects are then files of the recordings' own directory, and no copies. Empty if
    /// it is apart from all of them. Gives up soon: without an answer nothing is known.
    pub fn shows(
        &self,
        target: &str,
        root: &Path,
        roots: &[PathBuf],
        cancel: &Stop,
        ledger: &dyn Ledger,
    ) -> Result<Vec<VisibleRoot>> {
        let target = self.find(target)?;
        let ctx = UploadContext { cancel, progress: &|_| (), buffers: &target.buffers, ledger };
        self.network.until_stopped(view::look(target, root, roots, &ctx))
    }

    /// Compares an object with what its delivery proved: by what the store reports, and where `reads` also by its bytes. Says
    /// what differs, `None` if nothing does.
    pub fn verify(&self, proven: &RemoteObject, reads: bool, cancel: &Stop) -> Result<Option<Difference>> {
        let target = self.find(&proven.target)?;
        let ctx = UploadContext { cancel, progress: &|_| (), buffers: &target.buffers, ledger: &NullLedger };
        let reported = match &target.store {
            TargetStore::Directory(directory) => {
                ProofCheck::of(directory.head(&proven.key)?.map(RemoteState::from).as_ref(), proven)
            }
            TargetStore::Bucket(bucket) => self.network.until_stopped(asking::ask_bucket(bucket, proven, &ctx))?,
        };
        match reported {
            ProofCheck::Differs(difference) => return Ok(Some(difference)),
            ProofCheck::AsProven { .. } if !reads => return Ok(None),
            ProofCheck::AsProven { .. } => {}
        }
        let differs = match &target.store {
            TargetStore::Directory(directory) => verify::read_directory(directory, proven, &ctx),
            TargetStore::Bucket(bucket) => self.network.until_stopped(verify::read_bucket(bucket, proven, &ctx)),
        }?;
        Ok(differs.map(|words| Difference { words, is_missing: false, when_read: true }))
    }

    /// From now on what stands under an object's key is never taken for a copy, whatever the store says of it, until it is
    /// gone or [`Targets::trust`] is called.
    pub fn distrust(&self, object: &RemoteObject, ledger: &dyn Ledger) -> Result<()> {
        let row = distrusted_row(&object.target, &object.key);
        ledger.put(&row, &Value::Bool(true)).map_err(DeliverError::Ledger)
    }

    /// An object was found to be as it was proven after all.
    pub fn trust(&self, object: &RemoteObject, ledger: &dyn Ledger) -> Result<()> {
        ledger.remove(&distrusted_row(&object.target, &object.key)).map_err(DeliverError::Ledger)
    }

    /// Removes the object that a delivery of an asset proved, if it is still that one: as it was proven, or at least
    /// marked as the asset's.
    pub fn remove(&self, asset_id: &str, proven: &RemoteObject) -> Result<Removal> {
        let target = self.find(&proven.target)?;
        let is_marked = match &target.store {
            TargetStore::Directory(_) => false,
            TargetStore::Bucket(bucket) => {
                let held = self.network.until_stopped(bucket.head(&proven.key))?;
                held.is_some_and(|held| held.is_of(&header_text(asset_id)))
            }
        };
        let now = self.head(&proven.target, &proven.key)?;
        match (verify::difference(now.as_ref(), proven), now) {
            (_, None) => Ok(Removal::NotThere),
            (Some(difference), Some(_)) if !is_marked => Ok(Removal::Left { difference }),
            _ => self.delete(&proven.target, &proven.key).map(|()| Removal::Removed),
        }
    }

    /// Removes whatever stands under a key of a target; its absence is a success.
    pub fn delete(&self, target: &str, key: &str) -> Result<()> {
        match &self.find(target)?.store {
            TargetStore::Directory(directory) => directory.delete(key),
            TargetStore::Bucket(bucket) => self.network.until_stopped(bucket.delete(key)),
        }
    }

    /// Writes, reads, lists and deletes a probe object, and says of each what is missing.
    pub fn probe(&self, target: &str) -> Result<Vec<TargetCheck>> {
        let target = self.find(target)?;
        self.network.until_stopped(async { Ok(doctor::probe(target).await) })
    }

    /// Gives back the memory that was kept for the next upload; to be called when nothing is left to send.
    pub fn rest(&self) {
        let opened = self.all.iter().filter_map(|known| match &known.opened {
            OpenedTarget::Yes(target) => Some(target),
            OpenedTarget::No { .. } => None,
        });
        opened.for_each(|target| target.buffers.rest());
    }

    pub(super) fn find(&self, name: &str) -> Result<&Target> {
        let found = self.all.iter().find(|t| t.name == name);
        match &found.ok_or_else(|| DeliverError::UnknownTarget(name.to_owned()))?.opened {
            OpenedTarget::Yes(target) => Ok(target),
            OpenedTarget::No { problem, advice } => Err(DeliverError::configuration(name, problem, advice)),
        }
    }
}

impl From<Target> for ConfiguredTarget {
    fn from(target: Target) -> Self {
        let (name, required) = (target.options.name.clone(), target.options.required);
        Self { name, required, opened: OpenedTarget::Yes(Box::new(target)) }
    }
}

/// Forgets an upload unless another has begun under its key meanwhile.
fn forget_this(ledger: &dyn Ledger, head: &UploadRow) -> Result<()> {
    let rows = UploadRows::of_head(ledger, head);
    let is_still_it = rows.read()?.is_some_and(|(now, _)| now == *head);
    if is_still_it { rows.forget() } else { Ok(()) }
}

impl Target {
    /// With room for so many uploads at once, and for so many parts as it says.
    pub fn new(options: TargetOptions, uploads: usize, place: TargetLocation, store: TargetStore) -> Self {
        let of_a_part = options.part_bytes.div_ceil(PART_MIN_BYTES);
        let parts = (options.concurrency as u64).saturating_mul(of_a_part);
        let buffers = Buffers::at_least(parts.max(uploads as u64));
        Self { options, place, store, buffers, claims: Mutex::default() }
    }

    fn open(options: &TargetOptions, uploads: usize, environment: &Environment) -> Result<Self> {
        let place = TargetLocation::parse(options)?;
        let target = options.name.clone();
        let store = match &place {
            TargetLocation::Directory(base) => TargetStore::Directory(DirectoryTarget { target, base: base.clone() }),
            TargetLocation::Bucket { provider, bucket, prefix } => {
                let backend = backend::open(options, *provider, bucket, environment)?;
                let conditions = ConditionSupport::of(options.endpoint.as_deref(), &options.url, prefix);
                let tags = TagSupport::of(options.endpoint.as_deref(), &options.url, prefix);
                TargetStore::Bucket(Box::new(Bucket { target, backend, conditions, tags }))
            }
        };
        Ok(Self::new(options.clone(), uploads, place, store))
    }
}

impl std::fmt::Display for ReportedChecksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Crc64Nvme(value) => write!(f, "crc64nvme:{value}"),
            Self::Crc32c(value) => write!(f, "crc32c:{value}"),
            Self::Md5(value) => write!(f, "md5:{value}"),
            Self::Sha256(value) => write!(f, "sha256:{value}"),
            Self::Sha256OfParts(value, parts) => write!(f, "sha256-of-parts:{value}-{parts}"),
            Self::Md5OfParts(value, parts) => write!(f, "md5-of-parts:{value}-{parts}"),
        }
    }
}
