//! VoD records: reading, ordered listing without a scan, changing, deleting.

use std::ops::Bound;
use std::path::Path;

use super::error::{CatalogError, Result};
use super::index;
use super::listing::{self, Cursor, Listing};
use super::log::Appender;
use super::records::{put_row, write_vod};
use super::shared::SharedCatalog;
use super::store::{TxAbort, stop};
use super::tree::TreeId;
use crate::recording::{Event, RemoteObject, VodFacts, VodRecord};

type IndexRows<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + 'a>;

/// Which VoDs to list, and from where on.
#[derive(Debug, Clone, Default)]
pub struct VodQuery<'a> {
    /// Where the page before ended; from the beginning if none. Belongs to a listing of the same order and stream.
    pub after: Option<Cursor>,
    /// How many at most.
    pub limit: usize,
    /// The newest first instead of the oldest.
    pub newest_first: bool,
    /// Only this stream, ordered by start time; otherwise all, ordered by creation date.
    pub stream: Option<&'a str>,
}

/// The first key of `by_stream` behind those of a stream.
fn behind(stream: &str) -> Vec<u8> {
    [stream.as_bytes(), &[1]].concat()
}

impl SharedCatalog {
    /// The record of a VoD.
    pub fn vod(&self, id: &str) -> Result<Option<VodRecord>> {
        self.store().read(TreeId::Vods, id)
    }

    /// A page of the catalogue, read through the index of its order.
    pub fn vods(&self, page: &VodQuery<'_>) -> Result<Listing<VodRecord>> {
        listing::page(self.index_rows(page)?, page.limit, |_, id| {
            let vod = self.store().read::<VodRecord>(TreeId::Vods, id)?;
            Ok(vod.filter(|vod| page.stream.is_none_or(|stream| vod.stream_id == stream)))
        })
    }

    /// Keys and ids of an index in the page's order, from its cursor on.
    fn index_rows(&self, page: &VodQuery<'_>) -> Result<IndexRows<'_>> {
        let (tree, first, end) = match page.stream {
            Some(stream) => {
                let first = index::stream_prefix(stream);
                (TreeId::ByStream, first, Bound::Excluded(behind(stream)))
            }
            None => (TreeId::ByCreated, Vec::new(), Bound::Unbounded),
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

    /// The last recording of each stream, in the order of stream ids, those of streams behind a given one, one at a time: a step
    /// reads two rows, however many recordings a stream has.
    pub fn last_of_streams(&self, after: Option<&str>) -> impl Iterator<Item = Result<VodRecord>> + use<'_> {
        let mut from = after.map_or(Bound::Unbounded, |stream| Bound::Included(behind(stream)));
        std::iter::from_fn(move || self.next_stream(&mut from).transpose())
    }

    fn next_stream(&self, from: &mut Bound<Vec<u8>>) -> Result<Option<VodRecord>> {
        while let Some(row) = self.store().range(TreeId::ByStream, (from.clone(), Bound::Unbounded))?.next() {
            let (key, id) = row?;
            let known = self.store().read::<VodRecord>(TreeId::Vods, &id);
            let Some(first) = known.ok().flatten().filter(|vod| behind(&vod.stream_id)[..] > key[..]) else {
                *from = Bound::Excluded(key.to_vec());
                continue;
            };
            *from = Bound::Included(behind(&first.stream_id));
            return Ok(Some(self.begun_before(&first.stream_id, i64::MAX)?.find_map(Result::ok).unwrap_or(first)));
        }
        Ok(None)
    }

    /// VoDs of a stream that begin before a time (milliseconds since the Unix epoch), the latest first, one at a time.
    pub fn begun_before(
        &self,
        stream: &str,
        before_ms: i64,
    ) -> Result<impl Iterator<Item = Result<VodRecord>> + use<'_>> {
        let stream = stream.to_owned();
        let end = [&index::stream_prefix(&stream)[..], &index::ordered(before_ms)].concat();
        let rows = self
            .store()
            .range(TreeId::ByStream, (Bound::Included(index::stream_prefix(&stream)), Bound::Excluded(end)))?;
        let read = |row: Result<(sled::IVec, sled::IVec)>| {
            row.and_then(|(_, id)| self.store().read::<VodRecord>(TreeId::Vods, &id)).transpose()
        };
        Ok(rows
            .rev()
            .filter_map(read)
            .filter(move |vod| vod.as_ref().is_ok_and(|vod| vod.stream_id == stream) || vod.is_err()))
    }

    /// Where a record stands in the listing of all VoDs, or in that of its stream: the page after it begins there.
    pub fn place_of(&self, vod: &VodRecord, in_its_stream: bool) -> Cursor {
        Cursor(if in_its_stream { index::stream_key(vod) } else { index::created_key(vod) })
    }

    /// VoDs whose local file is not freed, the oldest first, one at a time; what cannot be read is left out.
    pub fn unfreed(&self) -> Result<impl Iterator<Item = Result<VodRecord>> + use<'_>> {
        let rows = self.store().prefix(TreeId::Unfreed, b"")?;
        let read = |row: Result<(sled::IVec, sled::IVec)>| match row
            .and_then(|(_, id)| self.store().read(TreeId::Vods, &id))
        {
            Err(CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. }) => None,
            read => read.map(|vod: Option<VodRecord>| vod.filter(|vod| vod.freed_at.is_none())).transpose(),
        };
        Ok(rows.filter_map(read))
    }

    /// Every VoD by creation date, oldest first, one at a time, for export. What cannot be read comes as an error between
    /// the others.
    pub fn all_vods(&self) -> Result<impl Iterator<Item = Result<VodRecord>> + use<'_>> {
        let rows = self.index_rows(&VodQuery::default())?;
        Ok(rows.filter_map(|row| row.and_then(|(_, id)| self.store().read(TreeId::Vods, &id)).transpose()))
    }

    /// The VoD whose finished file has this path; of several the one that is still on disk, and of those the newest.
    pub fn vod_at_path(&self, path: &Path) -> Result<Option<VodRecord>> {
        let vods = self.vods_at(path)?;
        Ok(vods.into_iter().max_by_key(|vod| (vod.freed_at.is_none(), vod.creation_date)))
    }

    pub(super) fn vods_at(&self, path: &Path) -> Result<Vec<VodRecord>> {
        let rows = self.store().prefix(TreeId::ByPath, &index::path_prefix(path))?;
        let vods = rows.map(|row| row.and_then(|(_, id)| self.store().read(TreeId::Vods, &id)));
        vods.filter_map(Result::transpose).collect()
    }

    /// Ids of the VoDs whose records name an object of a target.
    pub fn vods_with_object(&self, target: &str, key: &str) -> Result<Vec<String>> {
        let rows = self.store().prefix(TreeId::ByObject, &index::object_prefix(target, key))?;
        rows.map(|row| row.map(|(_, id)| String::from_utf8_lossy(&id).into_owned())).collect()
    }

    /// How many VoDs there are. The first call reads all keys.
    pub fn count(&self) -> Result<usize> {
        Ok(self.count_unless(|| false)?.unwrap_or_default())
    }

    /// The same, `None` if it is stopped.
    pub fn count_unless(&self, is_stopped: impl Fn() -> bool) -> Result<Option<usize>> {
        let read = || {
            let mut count = 0;
            // Those that are followed (`Tx::added`).
            for row in self.store().prefix(TreeId::Vods, b"")? {
                row?;
                count += 1;
                if is_stopped() {
                    return Ok(None);
                }
            }
            Ok(Some(count))
        };
        self.store().vod_count.get(read)
    }

    /// Changes a record and its index rows together; durable on return. The id cannot be changed, and the function may
    /// run more than once.
    pub fn update_vod(&self, id: &str, change: impl Fn(&mut VodRecord)) -> Result<VodRecord> {
        // No event: the time is not needed.
        self.change_vod(id, 0, "vod updated", |_, vod| {
            change(vod);
            Ok(())
        })
    }

    /// Remembers that the local file of a VoD was freed; durable on return. The first time stays.
    pub fn freed(&self, id: &str, now_ms: i64) -> Result<VodRecord> {
        self.change_vod(id, now_ms, "freed", |log, vod| {
            if vod.freed_at.is_none() {
                vod.freed_at = Some(now_ms);
                log.append(&Event::Freed { vod: VodFacts::of(vod) })?;
            }
            Ok(())
        })
    }

    /// Notes what a later look at an object of a VoD found: what differs from its proof, or that nothing does, and whether the
    /// object was read for it. A difference that is new is an event; durable on return.
    pub fn verified(
        &self,
        id: &str,
        object: &RemoteObject,
        differs: Option<(&str, bool)>,
        now_ms: i64,
    ) -> Result<VodRecord> {
        self.change_vod(id, now_ms, "verified", |log, vod| {
            let same = |o: &&mut RemoteObject| o.target == object.target && o.key == object.key;
            let Some(noted) = vod.remote.iter_mut().find(same) else { return Ok(()) };
            let words = differs.map(|(words, _)| words);
            let is_news = words.is_some() && noted.differs.as_deref() != words;
            noted.differs = words.map(str::to_owned);
            noted.differs_when_read = differs.is_some_and(|(_, when_read)| when_read);
            match words {
                Some(words) if is_news => log.append(&Event::differs(vod, object, words)),
                _ => Ok(()),
            }
        })
    }

    fn change_vod(
        &self,
        id: &str,
        now_ms: i64,
        step: &'static str,
        change: impl Fn(&Appender<'_>, &mut VodRecord) -> std::result::Result<(), TxAbort>,
    ) -> Result<VodRecord> {
        let changed = self.0.logged(now_ms, |tx, log| {
            let old = tx.read::<VodRecord>(TreeId::Vods, id)?;
            let old = old.ok_or_else(|| stop(CatalogError::NoSuchVod { id: id.to_owned() }))?;
            let mut new = old.clone();
            change(log, &mut new)?;
            new.vod_id.clone_from(&old.vod_id);
            index::known_rows(&new).into_iter().try_for_each(|row| put_row(tx, row))?;
            write_vod(tx, Some(&old), &new)?;
            Ok(new)
        })?;
        self.store().flush(step)?;
        Ok(changed)
    }
}
