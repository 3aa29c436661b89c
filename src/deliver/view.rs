//! Whether a target is another view of a directory of recordings: a gateway that serves it (`rclone serve s3`), a bind mount,
//! an overlay, a bucket that is mounted as the root. There the local file would be taken for its own copy, and freeing it would
//! remove both.
//!
//! A small object is written through the target and looked for beneath every root; a small file is placed in the root and asked
//! for through the target. Both have names that nothing had before, so that no cache knows them. Both are removed at once; an
//! object that could not be removed is noted and removed, or used again, the next time.
//!
//! It must not wait for long: without an answer nothing is freed, so nothing is lost by giving up.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use object_store::{ObjectStoreExt, PutPayload};
use serde_json::{Value, json};

use super::bucket::{Bucket, key_of};
use super::diagnose::{Cause, Verb};
use super::directory::DirectoryTarget;
use super::error::{DeliverError, Result};
use super::location::answered_for;
use super::target::{Target, TargetStore};
use super::transfer::UploadContext;
use crate::durable::{self, ProbeFile};
use crate::fault::{Class, Fault, chain};
use crate::recording::name::printable;
use crate::recording::{KeyFacts, object_key};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one search beneath the roots may take: a network file system with many directories must not keep the answer away.
const SEARCH_PATIENCE: Duration = Duration::from_secs(4);
/// How long the object of an attempt that failed is waited for to go.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

const PROBE_BYTES: &[u8] =
    b"aftercast looks whether this target is apart from the recordings; this object can be deleted\n";

/// A root that a target shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleRoot {
    /// The root.
    pub root: PathBuf,
    /// What was found where: words to be read after both names.
    pub seen: String,
}

/// One look at one target for one root.
struct ViewProbe<'a> {
    target: &'a Target,
    root: &'a Path,
    roots: &'a [PathBuf],
    ctx: &'a UploadContext<'a>,
    deadline: Instant,
}

/// Which roots a target shows; empty if it is apart from all of them.
pub(super) async fn look(
    target: &Target,
    root: &Path,
    roots: &[PathBuf],
    ctx: &UploadContext<'_>,
) -> Result<Vec<VisibleRoot>> {
    let look = ViewProbe { target, root, roots, ctx, deadline: Instant::now() + PATIENCE };
    match &target.store {
        TargetStore::Directory(directory) => look.through_directory(directory),
        TargetStore::Bucket(bucket) => look.through_bucket(bucket).await,
    }
}

impl ViewProbe<'_> {
    fn through_directory(&self, directory: &DirectoryTarget) -> Result<Vec<VisibleRoot>> {
        directory.ensure()?;
        let owner = self.ctx.ledger.owner();
        let asked = directory.path_of(&self.key("x"));
        let there = asked.ancestors().skip(1).find(|path| path.is_dir()).unwrap_or(&directory.base);
        let probe = ProbeFile::place(there, &owner).map_err(DeliverError::disk(&self.target.options.name))?;
        let mut shown = self.beneath_roots(probe.name())?;
        drop(probe);
        if let Some(probe) = self.place_in_root()
            && directory.head(&self.key(probe.name()))?.is_some()
        {
            self.add(&mut shown);
        }
        Ok(shown)
    }

    async fn through_bucket(&self, bucket: &Bucket) -> Result<Vec<VisibleRoot>> {
        let key = match self.take_away_the_last(bucket).await? {
            Some(left) => left,
            None => self.key(&durable::probe_name(&self.ctx.ledger.owner())),
        };
        let row = self.row();
        let noted = json!({ "place": self.place(), "key": key });
        self.ctx.ledger.put(&row, &noted).map_err(DeliverError::Ledger)?;
        let shown = self.with_object(bucket, &key).await;
        let patience = if shown.is_ok() { self.left() } else { LAST_PATIENCE };
        let removed = tokio::select! {
            removed = bucket.delete(&key) => removed,
            stopped = self.ctx.cancelled() => Err(stopped),
            () = tokio::time::sleep(patience) => Err(self.no_answer(bucket, &key)),
        };
        match removed {
            // What was given up may still arrive, and stays noted.
            Ok(()) if shown.is_err() => {}
            Ok(()) => self.ctx.ledger.remove(&row).map_err(DeliverError::Ledger)?,
            Err(error) => {
                tracing::debug!(target = %bucket.target, key, error = chain(&error), "probe object not removed");
            }
        }
        shown
    }

    async fn with_object(&self, bucket: &Bucket, key: &str) -> Result<Vec<VisibleRoot>> {
        let path = key_of(key);
        let put = bucket.backend.store.put(&path, PutPayload::from_static(PROBE_BYTES));
        self.patient(bucket, key, bucket.call(Verb::Put, key, put)).await?;
        // A store that says it holds what it does not hold would be apart from everything.
        if self.patient(bucket, key, bucket.head(key)).await?.is_none() {
            return Err(bucket.refusal(
                Verb::Head,
                key,
                Cause::NoSuchObject,
                "an object that was just stored is missing",
            ));
        }
        let name = key.rsplit('/').next().unwrap_or(key);
        let mut shown = self.beneath_roots(name)?;
        if let Some(probe) = self.place_in_root() {
            let key = self.key(probe.name());
            if self.patient(bucket, &key, bucket.head(&key)).await?.is_some() {
                self.add(&mut shown);
            }
        }
        Ok(shown)
    }

    /// Removes the object that an earlier look left. Gives its key back where that is not allowed: it is used again, so that no
    /// more than one is ever left.
    async fn take_away_the_last(&self, bucket: &Bucket) -> Result<Option<String>> {
        let row = self.row();
        let rows = self.ctx.ledger.rows(&row).map_err(DeliverError::Ledger)?;
        let place = self.place();
        let is_of_this = |noted: &&(String, Value)| noted.1["place"] == place.as_str();
        let left = rows.iter().find(is_of_this).and_then(|noted| noted.1["key"].as_str());
        let Some(left) = left else { return Ok(None) };
        match self.patient(bucket, left, bucket.delete(left)).await {
            Ok(()) => Ok(None),
            Err(error) if error.class() == Class::Cancelled => Err(error),
            // Whatever it was: a store that cannot be reached fails the look itself.
            Err(_) => Ok(Some(left.to_owned())),
        }
    }

    fn row(&self) -> String {
        format!("probe/{}/object", self.target.options.name)
    }

    fn place(&self) -> String {
        answered_for(self.target.options.endpoint.as_deref(), &self.target.options.url)
    }

    /// The key of a file that lies in the root itself.
    fn key(&self, name: &str) -> String {
        let facts = KeyFacts { relative_path: Path::new(name), root: self.root, stream_id: "", date: "", vod_id: "" };
        let key = object_key(self.target.place.prefix(), &self.target.options.key, &facts);
        // A pattern may leave the file's own name out.
        let directory = key.rfind('/').map_or("", |slash| &key[..=slash]);
        format!("{directory}{name}")
    }

    fn beneath_roots(&self, name: &str) -> Result<Vec<VisibleRoot>> {
        let until = Instant::now() + SEARCH_PATIENCE;
        let is_over = || self.ctx.check().is_err() || Instant::now() >= until;
        let mut shown = Vec::new();
        for root in self.roots {
            if let Some(path) = durable::find_beneath(root, name, &is_over) {
                let seen = format!("an object written to the target appeared as `{}`", printable(&path));
                shown.push(VisibleRoot { root: root.clone(), seen });
            }
        }
        self.ctx.check()?;
        Ok(shown)
    }

    /// `None` where the root may not be written: then the object alone has to tell.
    fn place_in_root(&self) -> Option<ProbeFile> {
        let placed = ProbeFile::place(self.root, &self.ctx.ledger.owner());
        placed.inspect_err(|error| tracing::debug!(error = chain(error), "no probe file in the root")).ok()
    }

    fn add(&self, shown: &mut Vec<VisibleRoot>) {
        if shown.iter().all(|known| known.root != self.root) {
            let seen = "a file placed in the root appeared as an object of the target".to_owned();
            shown.push(VisibleRoot { root: self.root.to_owned(), seen });
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn patient<T>(&self, bucket: &Bucket, key: &str, request: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            answer = request => answer,
            stopped = self.ctx.cancelled() => Err(stopped),
            () = tokio::time::sleep(self.left()) => Err(self.no_answer(bucket, key)),
        }
    }

    fn no_answer(&self, bucket: &Bucket, key: &str) -> DeliverError {
        let words = format!("target `{}` did not answer within {} s", self.target.options.name, PATIENCE.as_secs());
        bucket.refusal(Verb::Head, key, Cause::Timeout, &words)
    }
}
