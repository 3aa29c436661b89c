//! VoD records: reading, ordered listing without a scan, changing, deleting.

use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::str::FromStr;

use super::commit::write_vod;
use super::index;
use super::store::{In, stop};
use super::{Catalog, CatalogError, Result, outbox, queue};
use crate::recording::{RemoteObject, VodRecord};

type IndexRows<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + 'a>;

/// Which VoDs to list, and from where on.
#[derive(Debug, Clone, Default)]
pub struct Page<'a> {
    /// Where the page before ended; from the beginning if none. Belongs to a listing of the same order and stream.
    pub after: Option<Cursor>,
    /// How many at most.
    pub limit: usize,
    /// The newest first instead of the oldest.
    pub newest_first: bool,
    /// Only this stream, ordered by start time; otherwise all, ordered by creation date.
    pub stream: Option<&'a str>,
}

/// A place in a listing; its text form may be handed to users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Cursor {
    type Err = super::NotAKey;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        hex::decode(text).ok().filter(|key| !key.is_empty()).map(Self).ok_or(super::NotAKey)
    }
}

/// What was listed, and what could not be read on the way: one bad value does not hide the rest.
#[derive(Debug)]
pub struct Listing<T> {
    /// What was read, in order.
    pub items: Vec<T>,
    /// The values that could not be read, each with its key.
    pub unreadable: Vec<CatalogError>,
    /// Where the next page begins, if there is more.
    pub next: Option<Cursor>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), unreadable: Vec::new(), next: None }
    }
}

impl<T> Listing<T> {
    pub(super) fn add(&mut self, item: Result<Option<T>>) {
        match item {
            Ok(item) => self.items.extend(item),
            Err(unreadable) => self.unreadable.push(unreadable),
        }
    }
}

impl Catalog {
    /// The record of a VoD.
    pub fn vod(&self, id: &str) -> Result<Option<VodRecord>> {
        self.store().read(In::Vods, id)
    }

    /// A page of the catalogue, read through the index of its order.
    pub fn vods(&self, page: &Page<'_>) -> Result<Listing<VodRecord>> {
        let mut listing = Listing::default();
        let mut last = None;
        for row in self.index_rows(page)? {
            let (key, id) = row?;
            if listing.items.len() + listing.unreadable.len() >= page.limit {
                listing.next = last.map(Cursor);
                break;
            }
            let vod = self.store().read::<VodRecord>(In::Vods, &id);
            listing.add(vod.map(|vod| vod.filter(|vod| page.stream.is_none_or(|stream| vod.stream_id == stream))));
            last = Some(key);
        }
        Ok(listing)
    }

    /// Keys and ids of an index in the page's order, from its cursor on.
    fn index_rows(&self, page: &Page<'_>) -> Result<IndexRows<'_>> {
        let (tree, first, end) = match page.stream {
            Some(stream) => {
                let first = index::stream_prefix(stream);
                let end = [stream.as_bytes(), &[1]].concat();
                (In::ByStream, first, Bound::Excluded(end))
            }
            None => (In::ByCreated, Vec::new(), Bound::Unbounded),
        };
        let bounds = match &page.after {
            Some(Cursor(after)) if !after.starts_with(&first) => return Ok(Box::new(std::iter::empty())),
            Some(Cursor(after)) if page.newest_first => (Bound::Included(first), Bound::Excluded(after.clone())),
            Some(Cursor(after)) => (Bound::Excluded(after.clone()), end),
            None => (Bound::Included(first), end),
        };
        let rows = self.store().range(tree, bounds)?;
        let rows = rows.map(|row| row.map(|(key, id)| (key.to_vec(), id.to_vec())));
        Ok(if page.newest_first { Box::new(rows.rev()) } else { Box::new(rows) })
    }

    /// Where a record stands in the listing of all VoDs, or in that of its stream: the page after it begins there.
    pub fn place_of(&self, vod: &VodRecord, in_its_stream: bool) -> Cursor {
        Cursor(if in_its_stream { index::stream_key(vod) } else { index::created_key(vod) })
    }

    /// VoDs whose local file is not freed, the oldest first, at most `limit`; what cannot be read is left out.
    pub fn unfreed_vods(&self, limit: usize) -> Result<Vec<VodRecord>> {
        let mut vods = Vec::new();
        for row in self.store().prefix(In::Unfreed, b"")? {
            if vods.len() >= limit {
                break;
            }
            match self.vod(&String::from_utf8_lossy(&row?.1)) {
                Ok(vod) => vods.extend(vod.filter(|vod| vod.freed_at.is_none())),
                Err(CatalogError::Unreadable { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(vods)
    }

    /// Every VoD by creation date, oldest first, one at a time, for export. What cannot be read comes as an error between
    /// the others.
    pub fn all_vods(&self) -> Result<impl Iterator<Item = Result<VodRecord>> + use<'_>> {
        let rows = self.index_rows(&Page::default())?;
        Ok(rows.filter_map(|row| row.and_then(|(_, id)| self.store().read(In::Vods, &id)).transpose()))
    }

    /// The VoD whose finished file has this path; of several the one that is still on disk, and of those the newest.
    pub fn vod_at_path(&self, path: &Path) -> Result<Option<VodRecord>> {
        let vods = self.vods_at(path)?;
        Ok(vods.into_iter().max_by_key(|vod| (vod.freed_at.is_none(), vod.creation_date)))
    }

    pub(super) fn vods_at(&self, path: &Path) -> Result<Vec<VodRecord>> {
        let rows = self.store().prefix(In::ByPath, &index::path_prefix(path))?;
        let vods = rows.map(|row| row.and_then(|(_, id)| self.store().read(In::Vods, &id)));
        vods.filter_map(Result::transpose).collect()
    }

    /// How many VoDs there are. Reads keys only, but all of them.
    pub fn count(&self) -> Result<usize> {
        self.store().prefix(In::ByCreated, b"")?.try_fold(0, |count, row| row.map(|_| count + 1))
    }

    /// Changes a record and its index rows together; durable on return. The id cannot be changed, and the function may
    /// run more than once.
    pub fn update_vod(&self, id: &str, change: impl Fn(&mut VodRecord)) -> Result<VodRecord> {
        self.change_vod(id, "vod updated", |_, vod| {
            change(vod);
            Ok(())
        })
    }

    /// Remembers that the local file of a VoD was freed; durable on return. The first time stays.
    pub fn freed(&self, id: &str, now_ms: i64) -> Result<VodRecord> {
        self.change_vod(id, "freed", |tx, vod| {
            if vod.freed_at.is_none() {
                vod.freed_at = Some(now_ms);
                outbox::announce_in(tx, &outbox::about_vod("vod_freed", vod, now_ms))?;
            }
            Ok(())
        })
    }

    /// Notes what a later look at an object of a VoD found: what differs from its proof, or that nothing does, and whether the
    /// object was read for it. A difference that is new is announced; durable on return.
    pub fn verified(
        &self,
        id: &str,
        object: &RemoteObject,
        differs: Option<(&str, bool)>,
        now_ms: i64,
    ) -> Result<VodRecord> {
        self.change_vod(id, "verified", |tx, vod| {
            let same = |o: &&mut RemoteObject| o.target == object.target && o.key == object.key;
            let Some(noted) = vod.remote.iter_mut().find(same) else { return Ok(()) };
            let words = differs.map(|(words, _)| words);
            let is_news = words.is_some() && noted.differs.as_deref() != words;
            noted.differs = words.map(str::to_owned);
            noted.differs_when_read = differs.is_some_and(|(_, when_read)| when_read);
            if is_news {
                let mut event = outbox::about_vod("delivery_differs", vod, now_ms);
                event["url"] = object.url.clone().into();
                event["difference"] = words.into();
                outbox::announce_in(tx, &event)?;
            }
            Ok(())
        })
    }

    fn change_vod(
        &self,
        id: &str,
        step: &'static str,
        change: impl Fn(&super::store::Tx<'_>, &mut VodRecord) -> std::result::Result<(), super::store::Stop>,
    ) -> Result<VodRecord> {
        let changed = self.store().transact(|tx| {
            let old = tx.read::<VodRecord>(In::Vods, id)?;
            let old = old.ok_or_else(|| stop(CatalogError::NoSuchVod { id: id.to_owned() }))?;
            let mut new = old.clone();
            change(tx, &mut new)?;
            new.vod_id.clone_from(&old.vod_id);
            index::known_rows(&new).into_iter().try_for_each(|row| super::commit::put_row(tx, row))?;
            write_vod(tx, Some(&old), &new)?;
            Ok(new)
        })?;
        self.store().flush(step)?;
        Ok(changed)
    }

    /// Removes a record, its index rows and its deliveries; durable on return. Its files stay, and stay known: no scan makes
    /// the VoD again (`forget` and `begin` do).
    pub fn delete_vod(&self, id: &str, now_ms: i64) -> Result<VodRecord> {
        let deliveries = self.deliveries_of_vod(id)?;
        let deleted = self.store().transact(|tx| {
            let vod = tx.read::<VodRecord>(In::Vods, id)?;
            let vod = vod.ok_or_else(|| stop(CatalogError::NoSuchVod { id: id.to_owned() }))?;
            for row in index::rows(&vod) {
                tx.remove(row.tree, row.key)?;
            }
            deliveries.iter().try_for_each(|delivery| queue::remove_in(tx, delivery))?;
            tx.remove(In::Vods, id)?;
            outbox::announce_in(tx, &outbox::about_vod("vod_deleted", &vod, now_ms))?;
            Ok(vod)
        })?;
        self.store().flush("vod deleted")?;
        Ok(deleted)
    }
}
