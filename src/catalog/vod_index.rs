//! VoDs in memory in the order of creation, start and name, so that a page begins at any position at once. Pure.
//!
//! Memory for each VoD: 35 bytes, 12 bytes for the three orders, 5 to 10 bytes to find it by its id, and its text (see `texts`: id, name and
//! what of the stream the name does not say; some 70 bytes). A million VoDs take about 125 MB.
//!
//! The orders are sorted arrays of 4 bytes a VoD: what comes last, as new VoDs do, is appended, and a change anywhere else moves
//! 4 MB at most for a million.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};

use hashbrown::HashTable;

use super::marks::Marks;
use super::texts::{PackedText, PackedTexts, SearchText, folded};

/// What is known of a VoD.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexedVod<'a> {
    pub words: SearchText<'a>,
    pub created_ms: i64,
    pub started_ms: i64,
    pub marks: u8,
    pub root: &'a Path,
}

/// Which VoDs, and in which order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection<'a> {
    /// Those of these roots.
    pub roots: &'a [PathBuf],
    /// Those of all roots instead.
    pub everywhere: bool,
    /// Only those of this stream.
    pub stream: Option<&'a str>,
    /// Only those whose id, name, stream id or stream name contains this, whatever the case.
    pub search: Option<&'a str>,
    /// Only those that are or have this.
    pub marks: Marks,
    /// In which order.
    pub order: Order,
    /// The last first.
    pub descending: bool,
}

/// What VoDs are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Creation date.
    #[default]
    Created,
    /// Start of the recording; the same start by creation date.
    Start,
    /// Name; the same name by creation date.
    Name,
}

/// Those that were found, as a bit for each place.
#[derive(Debug)]
pub(super) struct MatchBitmap {
    bits: Vec<u64>,
    pub count: usize,
}

impl MatchBitmap {
    /// Those that both have found.
    fn and(mut self, other: &Self) -> Self {
        self.bits.iter_mut().zip(&other.bits).for_each(|(one, other)| *one &= other);
        self.count = self.bits.iter().map(|bits| bits.count_ones() as usize).sum();
        self
    }

    fn holds(&self, place: u32) -> bool {
        self.bits.get(place as usize / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1)
    }
}

#[derive(Debug, Default)]
struct RootOrders {
    created: Vec<u32>,
    start: Vec<u32>,
    name: Vec<u32>,
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct VodIndex {
    texts: PackedTexts,
    parts: Vec<RootOrders>,
    roots: HashMap<PathBuf, u32>,
    ids: HashTable<u32>,
    hasher: RandomState,
}

impl VodIndex {
    /// Adds a VoD at the end of both orders; [`VodIndex::sort`] is to be called before anything is asked.
    pub(super) fn add_unsorted(&mut self, known: IndexedVod<'_>) {
        if self.place_of(known.words.id).is_some() {
            return;
        }
        let entry = self.packed(known);
        let place = self.put(&entry);
        let part = &mut self.parts[entry.part as usize];
        part.created.push(place);
        part.start.push(place);
        part.name.push(place);
    }

    /// Puts everything in order.
    pub(super) fn sort(&mut self) {
        let texts = &self.texts;
        for part in &mut self.parts {
            part.created.sort_unstable_by(|a, b| by_created(texts, *a, *b));
            part.start.sort_unstable_by(|a, b| by_start(texts, *a, *b));
            part.name.sort_unstable_by(|a, b| by_name(texts, *a, *b));
            part.created.shrink_to_fit();
            part.start.shrink_to_fit();
            part.name.shrink_to_fit();
        }
    }

    /// Brings what is known of an id up to date; `None` if there is no such VoD any more.
    pub(super) fn update(&mut self, id: &str, known: Option<IndexedVod<'_>>) {
        let entry = known.map(|known| self.packed(known));
        if let Some(place) = self.place_of(id) {
            if entry.as_ref().is_some_and(|entry| self.texts.holds(place, entry)) {
                return;
            }
            self.remove(id, place);
        }
        let Some(entry) = entry else { return };
        let place = self.put(&entry);
        let (texts, part) = (&self.texts, &mut self.parts[entry.part as usize]);
        let at = part.created.partition_point(|other| by_created(texts, *other, place) == Ordering::Less);
        part.created.insert(at, place);
        let at = part.start.partition_point(|other| by_start(texts, *other, place) == Ordering::Less);
        part.start.insert(at, place);
        let at = part.name.partition_point(|other| by_name(texts, *other, place) == Ordering::Less);
        part.name.insert(at, place);
    }

    fn remove(&mut self, id: &str, place: u32) {
        let (texts, part) = (&self.texts, &mut self.parts[self.texts.part(place) as usize]);
        if let Ok(at) = part.created.binary_search_by(|other| by_created(texts, *other, place)) {
            part.created.remove(at);
        }
        if let Ok(at) = part.start.binary_search_by(|other| by_start(texts, *other, place)) {
            part.start.remove(at);
        }
        if let Ok(at) = part.name.binary_search_by(|other| by_name(texts, *other, place)) {
            part.name.remove(at);
        }
        if let Ok(entry) = self.ids.find_entry(self.hasher.hash_one(id), |other| *other == place) {
            entry.remove();
        }
        self.texts.remove(place);
    }

    fn put(&mut self, entry: &PackedText) -> u32 {
        let place = self.texts.add(entry);
        let (texts, hasher) = (&self.texts, &self.hasher);
        let hash = |place: &u32| hasher.hash_one(texts.id(*place).as_str());
        self.ids.insert_unique(hash(&place), place, hash);
        place
    }

    fn packed(&mut self, known: IndexedVod<'_>) -> PackedText {
        let stream = self.hasher.hash_one(known.words.stream_id);
        let packed = PackedText::new(known.words, known.created_ms, stream, self.part_of(known.root));
        packed.marked(known.started_ms, known.marks)
    }

    fn part_of(&mut self, root: &Path) -> u32 {
        if let Some(part) = self.roots.get(root) {
            return *part;
        }
        let part = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        self.parts.push(RootOrders::default());
        self.roots.insert(root.to_owned(), part);
        part
    }

    fn place_of(&self, id: &str) -> Option<u32> {
        self.ids.find(self.hasher.hash_one(id), |place| self.texts.id(*place) == id).copied()
    }

    fn parts_of(&self, selection: &Selection<'_>) -> Vec<u32> {
        let named = selection.roots.iter().filter_map(|root| self.roots.get(root).copied());
        let mut parts: Vec<_> =
            if selection.everywhere { self.roots.values().copied().collect() } else { named.collect() };
        parts.sort_unstable();
        parts.dedup();
        parts
    }

    /// Those that are wanted; `None` if these are all below the roots.
    pub(super) fn find(&self, selection: &Selection<'_>) -> Option<MatchBitmap> {
        if selection.stream.is_none() && selection.search.is_none() && selection.marks.is_any() {
            return None;
        }
        let parts = self.parts_of(selection);
        let of_stream = selection.stream.map(|stream| {
            let digest = self.hasher.hash_one(stream);
            self.collect(&parts, |found| self.texts.of_stream(digest, found))
        });
        let searched = selection.search.map(|words| {
            let words = folded(words);
            self.collect(&parts, |found| self.texts.find(&words, found))
        });
        let marked = (!selection.marks.is_any())
            .then(|| self.collect(&parts, |found| self.texts.marked(selection.marks, found)));
        [of_stream, searched, marked].into_iter().flatten().reduce(|one, other| one.and(&other))
    }

    fn collect(&self, parts: &[u32], look: impl FnOnce(&mut dyn FnMut(u32))) -> MatchBitmap {
        let mut found = MatchBitmap { bits: vec![0; self.texts.len().div_ceil(64)], count: 0 };
        look(&mut |place| {
            if parts.binary_search(&self.texts.part(place)).is_ok() {
                found.bits[place as usize / 64] |= 1 << (place % 64);
                found.count += 1;
            }
        });
        found
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many there are below the roots.
    pub(super) fn count(&self, selection: &Selection<'_>) -> usize {
        self.parts_of(selection).iter().map(|part| self.parts[*part as usize].created.len()).sum()
    }

    /// Ids of a page; `found` is what [`VodIndex::find`] gave for the selection.
    pub(super) fn page(
        &self,
        selection: &Selection<'_>,
        found: Option<&MatchBitmap>,
        page: (usize, usize),
    ) -> Vec<String> {
        self.places(selection, found, page).into_iter().map(|place| self.texts.id(place)).collect()
    }

    /// Starts of all recordings, in the order of the selection.
    pub(super) fn starts(&self, selection: &Selection<'_>, found: Option<&MatchBitmap>) -> Vec<i64> {
        let all = self.places(selection, found, (0, usize::MAX));
        all.into_iter().map(|place| self.texts.started_ms(place)).collect()
    }

    fn places(
        &self,
        selection: &Selection<'_>,
        found: Option<&MatchBitmap>,
        (offset, limit): (usize, usize),
    ) -> Vec<u32> {
        let orders: Vec<&[u32]> = self.parts_of(selection).iter().map(|part| self.order(*part, selection)).collect();
        match (&orders[..], found) {
            ([order], None) => slice(order, selection.descending, (offset, limit)),
            ([order], Some(found)) => {
                let order = from_end(order, selection.descending);
                order.filter(|place| found.holds(*place)).skip(offset).take(limit).collect()
            }
            _ => {
                let Selection { order, descending, .. } = *selection;
                let merged = MergedOrders { orders, texts: &self.texts, order, descending };
                let wanted = merged.filter(|place| found.is_none_or(|found| found.holds(*place)));
                wanted.skip(offset).take(limit).collect()
            }
        }
    }

    fn order(&self, part: u32, selection: &Selection<'_>) -> &[u32] {
        let part = &self.parts[part as usize];
        match selection.order {
            Order::Created => &part.created,
            Order::Start => &part.start,
            Order::Name => &part.name,
        }
    }
}

/// An order from one of its ends.
fn from_end(order: &[u32], descending: bool) -> Box<dyn Iterator<Item = u32> + '_> {
    if descending { Box::new(order.iter().rev().copied()) } else { Box::new(order.iter().copied()) }
}

/// A part of an order without a look at what comes before.
fn slice(order: &[u32], descending: bool, (offset, limit): (usize, usize)) -> Vec<u32> {
    let (from, to) = (offset.min(order.len()), offset.saturating_add(limit).min(order.len()));
    let range = if descending { order.len() - to..order.len() - from } else { from..to };
    from_end(&order[range], descending).collect()
}

/// The orders of several roots as one.
struct MergedOrders<'a> {
    orders: Vec<&'a [u32]>,
    texts: &'a PackedTexts,
    order: Order,
    descending: bool,
}

impl Iterator for MergedOrders<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (texts, descending) = (self.texts, self.descending);
        let first = |order: &[u32]| if descending { order.last().copied() } else { order.first().copied() };
        let by = match self.order {
            Order::Created => by_created,
            Order::Start => by_start,
            Order::Name => by_name,
        };
        let compare = |a: u32, b: u32| by(texts, a, b);
        let heads = self.orders.iter().enumerate().filter_map(|(at, order)| Some((at, first(order)?)));
        let next = heads.min_by(|(_, a), (_, b)| if descending { compare(*b, *a) } else { compare(*a, *b) });
        let (at, place) = next?;
        let order = self.orders[at];
        self.orders[at] = if descending { &order[..order.len() - 1] } else { &order[1..] };
        Some(place)
    }
}

fn by_created(texts: &PackedTexts, a: u32, b: u32) -> Ordering {
    let of = |place| (texts.created_ms(place), texts.folded_id(place), texts.case(place));
    texts.created_ms(a).cmp(&texts.created_ms(b)).then_with(|| of(a).cmp(&of(b))).then_with(|| a.cmp(&b))
}

fn by_start(texts: &PackedTexts, a: u32, b: u32) -> Ordering {
    texts.started_ms(a).cmp(&texts.started_ms(b)).then_with(|| by_created(texts, a, b))
}

fn by_name(texts: &PackedTexts, a: u32, b: u32) -> Ordering {
    texts.folded_name(a).cmp(texts.folded_name(b)).then_with(|| by_created(texts, a, b))
}

#[cfg(test)]
mod tests;
