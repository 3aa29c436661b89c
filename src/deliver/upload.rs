//! One asset to one target: which keys it gets, in which order its files appear, and what counts as done already.
//!
//! The steps, in this order:
//!
//! 1. every key is looked at once; what holds the same content is adopted, and if one holds other content the whole
//!    asset goes under the next number, in this target alone;
//! 2. what is missing is sent, segments a few at once, each playlist or manifest only after all that came before it;
//! 3. every object is confirmed by the store before it counts.
//!
//! A sidecar that was edited since takes the place of the one that was delivered before; nothing else is ever replaced.
//!
//! So an upload that was cut off continues with what is missing, and a second run sends one request per object.

use std::sync::PoisonError;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use super::asking::LOOKS_MAX;
use super::attributes::{OWN_CHECKSUM, attributes, header_text, metadata_name};
use super::bucket::{Bucket, StoredObject};
use super::directory::DirectoryTarget;
use super::error::{DeliverError, Result};
use super::ledger::{SharedKeys, UploadRow, UploadRows, distrusted_row, heads, is_distrusted, unconfirmed_row};
use super::multipart::throw_away;
use super::names::{is_manifest, keys};
use super::source::UploadSource;
use super::target::{Target, TargetStore};
use super::transfer::{Proof, Transfer, TransferOutcome, UploadContext};
use crate::clock::Clock;
use crate::recording::{Asset, AssetFile, Kind, RemoteObject, SIDECAR_MAX_BYTES, read_sidecar};

/// Numbered names tried before it is given up.
const NUMBERS_MAX: u32 = 100;
/// Objects of one content at most: under its own name and two numbered ones. A store that never reports one of them as what was sent
/// would get it again and again.
pub(super) const OURS_MAX: u32 = 3;

/// Delivers an asset; the objects in the order of its files.
pub(super) async fn deliver(
    target: &Target,
    asset: &Asset,
    date: &str,
    ctx: &UploadContext<'_>,
    clock: &Clock,
) -> Result<Vec<RemoteObject>> {
    let (mut ours, asset_id) = (0, header_text(&asset.id));
    let is_on_trial = match &target.store {
        TargetStore::Bucket(bucket) => bucket.is_on_trial(&asset_id, ctx).await?,
        TargetStore::Directory(_) => false,
    };
    for n in 0..NUMBERS_MAX {
        let keys = keys(&target.options, target.place.prefix(), asset, date, n);
        let placing = Placement { target, asset, ctx, asset_id: asset_id.clone() };
        let placed = match placing.place(&keys).await? {
            PlacementOutcome::Placed(proofs, shared) => Some((proofs, shared)),
            PlacementOutcome::Taken { by_ours } => {
                ours += u32::from(by_ours);
                None
            }
        };
        if ours >= OURS_MAX {
            let key = keys.last().cloned().unwrap_or_default();
            if let TargetStore::Bucket(bucket) = &target.store {
                bucket.note_untrusted(&asset_id, &key, ctx)?;
            }
            return Err(DeliverError::Untrusted { target: target.options.name.clone(), key, stored: ours });
        }
        if let Some((proofs, shared)) = placed {
            if let TargetStore::Bucket(bucket) = &target.store {
                give_up_elsewhere(bucket, &asset_id, &keys, ctx).await?;
                if is_on_trial {
                    bucket.end_trial(ctx)?;
                }
            }
            let now_ms = clock.now_ms();
            let done = asset.files.iter().zip(keys).zip(proofs);
            let objects: Vec<_> = done.map(|((file, key), proof)| object(target, file, key, proof, now_ms)).collect();
            if let Some(shared) = &shared {
                ctx.ledger.keys_proven(shared, &objects).await;
            }
            return Ok(objects);
        }
    }
    let key = keys(&target.options, target.place.prefix(), asset, date, 0).pop().unwrap_or_default();
    Err(DeliverError::NoFreeName { target: target.options.name.clone(), key, tried: NUMBERS_MAX })
}

/// What others may have under these keys.
fn shared_keys(target: &Target, keys: &[String], asset: &Asset) -> Option<SharedKeys> {
    Some(SharedKeys {
        places: keys.iter().map(|key| target.shared_place(key)).collect::<Option<_>>()?,
        asset_id: asset.id.clone(),
        sizes: asset.files.iter().map(|file| file.fingerprint.size_bytes).collect(),
    })
}

/// An earlier try may have begun under a key that another asset has taken since.
async fn give_up_elsewhere(bucket: &Bucket, asset_id: &str, keys: &[String], ctx: &UploadContext<'_>) -> Result<()> {
    let elsewhere =
        |head: &UploadRow| head.target == bucket.target && head.asset_id == asset_id && !keys.contains(&head.key);
    for head in heads(ctx.ledger)?.into_iter().filter(elsewhere) {
        throw_away(bucket, &head, ctx.ledger).await?;
        UploadRows::of_head(ctx.ledger, &head).forget()?;
    }
    Ok(())
}

fn object(target: &Target, file: &AssetFile, key: String, placed: PlacedFile, verified_ms: i64) -> RemoteObject {
    let PlacedFile { proof, changed_ns } = placed;
    RemoteObject {
        target: target.options.name.clone(),
        url: target.place.url_of(&key),
        key,
        size_bytes: proof.size_bytes,
        etag: proof.etag,
        version: proof.version,
        checksum_compared: proof.checksum.is_some(),
        checksum: proof.checksum,
        verified_ms,
        source: file.fingerprint,
        source_changed_ns: Some(changed_ns),
        differs: None,
        differs_when_read: false,
        is_progressive_copy: file.stand_in.is_some(),
    }
}

/// What came of one set of keys.
enum PlacementOutcome {
    /// The proofs in the order of the files, and the keys if they are this asset's among all who share the store.
    Placed(Vec<PlacedFile>, Option<SharedKeys>),
    /// A key holds other content, or what was sent for this asset before and is not reported as that.
    Taken { by_ours: bool },
}

const TAKEN: PlacementOutcome = PlacementOutcome::Taken { by_ours: false };

/// A proof, and when the inode of the file that was read for it had changed last.
struct PlacedFile {
    proof: Proof,
    changed_ns: i64,
}

/// One try to place an asset under one set of keys.
struct Placement<'a> {
    target: &'a Target,
    asset: &'a Asset,
    ctx: &'a UploadContext<'a>,
    asset_id: String,
}

impl Placement<'_> {
    /// Adopts what is there and sends what is missing. Where others who share the store have one of the keys, nothing is sent: what is
    /// there is adopted if it is all of the asset.
    async fn place(&self, keys: &[String]) -> Result<PlacementOutcome> {
        // Before others are asked: what this process takes there it may also give back.
        let Some(_claim) = KeyClaim::on(self.target, keys, &self.asset_id) else { return Ok(TAKEN) };
        let Some(shared) = shared_keys(self.target, keys, self.asset) else { return self.fill(keys, None).await };
        if !self.ctx.ledger.take_keys(&shared).await {
            return self.adopt_all(keys).await;
        }
        let outcome = self.fill(keys, Some(&shared)).await?;
        if matches!(outcome, PlacementOutcome::Taken { .. }) {
            self.ctx.ledger.release_keys(&shared).await;
        }
        Ok(outcome)
    }

    /// Adopts all of the asset, or nothing. Nothing in the store is changed. What belongs to a VoD is not adopted: who has the keys may
    /// delete the objects with a VoD of its own. A unit is never deleted, and its id depends on where it lies.
    async fn adopt_all(&self, keys: &[String]) -> Result<PlacementOutcome> {
        if self.asset.vod_id.is_some() {
            return Ok(TAKEN);
        }
        Ok(match self.survey(keys, false).await? {
            KeySurvey::Free(proofs) => {
                let proofs: Option<_> = proofs.into_iter().collect();
                proofs.map_or(TAKEN, |proofs| PlacementOutcome::Placed(proofs, None))
            }
            KeySurvey::Taken { by_ours } => PlacementOutcome::Taken { by_ours },
        })
    }

    async fn fill(&self, keys: &[String], shared: Option<&SharedKeys>) -> Result<PlacementOutcome> {
        let mut proofs = match self.survey(keys, true).await? {
            KeySurvey::Free(proofs) => proofs,
            KeySurvey::Taken { by_ours } => return Ok(PlacementOutcome::Taken { by_ours }),
        };
        for group in Self::groups(keys) {
            let missing: Vec<_> = group.filter(|i| proofs[*i].is_none()).collect();
            let sent = stream::iter(missing).map(|i| self.send(i, &keys[i])).buffered(self.target.options.at_once());
            for (i, stored, changed_ns) in sent.try_collect::<Vec<_>>().await? {
                match stored {
                    TransferOutcome::Here(proof) => proofs[i] = Some(PlacedFile { proof, changed_ns }),
                    TransferOutcome::Taken => return Ok(TAKEN),
                }
            }
        }
        let placed = |proofs| PlacementOutcome::Placed(proofs, shared.cloned());
        Ok(proofs.into_iter().collect::<Option<_>>().map_or(TAKEN, placed))
    }

    /// Runs of files that may appear in any order; a manifest is a run of its own.
    fn groups(keys: &[String]) -> Vec<std::ops::Range<usize>> {
        let mut groups = Vec::new();
        let mut begin = 0;
        for (i, key) in keys.iter().enumerate() {
            if is_manifest(key) || i + 1 == keys.len() {
                groups.extend([begin..i, i..i + 1]);
                begin = i + 1;
            }
        }
        groups
    }

    /// Looks at every key once: what may be adopted, what is missing. An older sidecar goes only if it may be replaced.
    async fn survey(&self, keys: &[String], may_replace: bool) -> Result<KeySurvey> {
        let looks = self.asset.files.iter().zip(keys).map(|(file, key)| self.look(file, key, may_replace));
        let mut seen = stream::iter(looks).buffered(self.target.options.at_once());
        let mut proofs = Vec::new();
        while let Some(look) = seen.next().await {
            match look? {
                KeyState::Free => proofs.push(None),
                KeyState::Same(placed) => proofs.push(Some(placed)),
                KeyState::Other { is_ours } => return Ok(KeySurvey::Taken { by_ours: is_ours }),
            }
        }
        Ok(KeySurvey::Free(proofs))
    }

    async fn look(&self, file: &AssetFile, key: &str, may_replace: bool) -> Result<KeyState> {
        self.ctx.check()?;
        let source = UploadSource::open(file)?;
        let (target, ledger) = (&self.target.options.name, self.ctx.ledger);
        let is_distrusted = is_distrusted(ledger, target, key)?;
        let (adopted, is_ours) = match &self.target.store {
            TargetStore::Bucket(bucket) => match bucket.head(key).await? {
                None => return self.free(key, is_distrusted),
                Some(held) if is_distrusted => {
                    let is_ours = held.is_of(&self.asset_id) || self.is_unconfirmed(key)?;
                    return Ok(KeyState::Other { is_ours });
                }
                Some(held) => {
                    let is_marked = held.is_of(&self.asset_id);
                    let is_ours = is_marked && held.size_bytes == source.size_bytes();
                    let adopted = self.adopt(&self.transfer(bucket, key, &source), held).await?;
                    if may_replace && adopted.is_none() && is_marked && self.asset.kind == Kind::Sidecar {
                        bucket.delete(key).await?;
                        return self.free(key, false);
                    }
                    (adopted, is_ours || self.is_unconfirmed(key)?)
                }
            },
            TargetStore::Directory(directory) => match directory.head(key)? {
                None => return self.free(key, is_distrusted),
                Some(_) if is_distrusted => return Ok(KeyState::Other { is_ours: false }),
                Some((size_bytes, _)) => {
                    let adopted = directory.adopt(key, size_bytes, &source, self.ctx)?;
                    if may_replace && adopted.is_none() && self.is_older_sidecar(directory, key) {
                        directory.delete(key)?;
                        return self.free(key, false);
                    }
                    (adopted, false)
                }
            },
        };
        source.check()?;
        let Some(proof) = adopted else { return Ok(KeyState::Other { is_ours }) };
        self.forget_unconfirmed(key)?;
        (self.ctx.progress)(proof.size_bytes);
        Ok(KeyState::Same(PlacedFile { proof, changed_ns: source.changed_ns() }))
    }

    /// Whether a file is the sidecar of the same VoD as it was before somebody edited it: that one is replaced, as it is ours.
    fn is_older_sidecar(&self, directory: &DirectoryTarget, key: &str) -> bool {
        if self.asset.kind != Kind::Sidecar {
            return false;
        }
        let there = directory.read(key, SIDECAR_MAX_BYTES).ok().and_then(|text| read_sidecar(&text));
        there.is_some_and(|(vod_id, _)| self.asset.vod_id.as_deref() == Some(vod_id.as_str()))
    }

    /// Whatever was wrong under a key is gone with the object.
    fn free(&self, key: &str, was_distrusted: bool) -> Result<KeyState> {
        if was_distrusted {
            let row = distrusted_row(&self.target.options.name, key);
            self.ctx.ledger.remove(&row).map_err(DeliverError::Ledger)?;
        }
        self.forget_unconfirmed(key)?;
        Ok(KeyState::Free)
    }

    /// What stood under a key is gone, or is reported as what was sent after all.
    fn forget_unconfirmed(&self, key: &str) -> Result<()> {
        if self.is_unconfirmed(key)? {
            self.ctx.ledger.remove(&self.unconfirmed_row(key)).map_err(DeliverError::Ledger)?;
        }
        Ok(())
    }

    fn unconfirmed_row(&self, key: &str) -> String {
        unconfirmed_row(&self.target.options.name, key, &self.asset_id)
    }

    /// Whether this asset was put under a key and the store did not report what was sent.
    fn is_unconfirmed(&self, key: &str) -> Result<bool> {
        let rows = self.ctx.ledger.rows(&self.unconfirmed_row(key)).map_err(DeliverError::Ledger)?;
        Ok(!rows.is_empty())
    }

    /// What says it is ours and looks otherwise is looked at again before it counts as other content: a store that errs
    /// once must not get everything a second time.
    async fn adopt(&self, transfer: &Transfer<'_>, held: StoredObject) -> Result<Option<Proof>> {
        let mut held = Some(held);
        let mut looks = 1;
        loop {
            let adopted = match &held {
                Some(held) => transfer.adopt(held).await?,
                None => None,
            };
            let is_ours = held.is_some_and(|held| held.is_of(&self.asset_id));
            if adopted.is_some() || !is_ours || looks == LOOKS_MAX {
                transfer.give_up(adopted.is_some()).await?;
                return Ok(adopted);
            }
            looks += 1;
            held = transfer.bucket.head(transfer.key).await?;
        }
    }

    async fn send(&self, index: usize, key: &str) -> Result<(usize, TransferOutcome, i64)> {
        self.ctx.check()?;
        let source = UploadSource::open(&self.asset.files[index])?;
        let stored = match &self.target.store {
            TargetStore::Directory(directory) => directory.send(key, &source, self.ctx)?,
            TargetStore::Bucket(bucket) => {
                let provider = bucket.backend.provider;
                let mut attributes = attributes(&self.target.options, provider, self.asset, key);
                let transfer = self.transfer(bucket, key, &source);
                if bucket.distrusts_any(self.ctx.ledger).await? {
                    let own = transfer.own_checksum()?;
                    attributes.insert(metadata_name(provider, OWN_CHECKSUM), own.into());
                }
                let stored = transfer.send(attributes).await;
                if let Err(DeliverError::Mismatch { .. }) = stored {
                    let noted = self.ctx.ledger.put(&self.unconfirmed_row(key), &Value::Bool(true));
                    noted.map_err(DeliverError::Ledger)?;
                }
                let stored = stored?;
                if matches!(stored, TransferOutcome::Taken) {
                    transfer.give_up(false).await?;
                }
                stored
            }
        };
        Ok((index, stored, source.changed_ns()))
    }

    fn transfer<'a>(&'a self, bucket: &'a Bucket, key: &'a str, source: &'a UploadSource) -> Transfer<'a> {
        Transfer { bucket, key, source, asset_id: &self.asset_id, ctx: self.ctx }
    }
}

/// Keys of a target that are one asset's alone until this is dropped.
struct KeyClaim<'a> {
    target: &'a Target,
    keys: &'a [String],
}

impl<'a> KeyClaim<'a> {
    /// `None` if one of the keys is another asset's.
    fn on(target: &'a Target, keys: &'a [String], asset_id: &str) -> Option<Self> {
        let mut claims = target.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.iter().any(|key| claims.get(key).is_some_and(|owner| owner != asset_id)) {
            return None;
        }
        claims.extend(keys.iter().map(|key| (key.clone(), asset_id.to_owned())));
        Some(Self { target, keys })
    }
}

impl Drop for KeyClaim<'_> {
    fn drop(&mut self) {
        let mut claims = self.target.claims.lock().unwrap_or_else(PoisonError::into_inner);
        self.keys.iter().for_each(|key| drop(claims.remove(key)));
    }
}

enum KeySurvey {
    /// What was adopted; nothing where the key is free.
    Free(Vec<Option<PlacedFile>>),
    Taken {
        by_ours: bool,
    },
}

enum KeyState {
    Free,
    Same(PlacedFile),
    /// `is_ours`: it was sent for this asset, and is not reported as what was sent.
    Other {
        is_ours: bool,
    },
}
