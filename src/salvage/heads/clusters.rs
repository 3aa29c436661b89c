//! Clusters of Matroska that were hit: a header that is gone, a size that lies, a hole.
//!
//! What is no element becomes one that says nothing (`Void`), so that nothing behind it moves; in front of blocks whose
//! cluster has lost its header a new one is opened in the bytes of the old one. Its time, if that is lost too, is the one
//! with which its blocks go on as those of its neighbours do.

use std::io::{Read, Seek};
use std::ops::Range;

use super::blocks::{BlockFault, SegmentTracks};
use super::ebml::{BLOCK_GROUP, CLUSTER, EbmlElement, SIMPLE_BLOCK, TIMESTAMP, UNKNOWN, number, void};
use super::times::{BlockTimes, time_before, time_behind};
use crate::salvage::source::Source;

/// Blocks that must follow one another.
const CHAIN: u32 = 4;
/// How many elements that are no blocks may stand between them.
const MOST_BETWEEN: u32 = 3;
/// How far the first block is looked for.
const MOST_SEARCHED_BYTES: u64 = 64 << 20;
/// Most places that are mended.
const MOST_PATCHES: usize = 100_000;
/// Fewer zeros at the end of a block may belong to it.
const BLOCK_ZERO_BYTES: u64 = 8;
/// How far a block of a long cluster may lie before the newest of it.
const REORDER_TICKS: i64 = 1000;

/// Where what is left of the file begins, and what stands in front of it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    /// Byte offset in the file.
    pub at: u64,
    /// A cluster opened anew for blocks whose own is lost; empty in front of a whole one.
    pub opening: Vec<u8>,
}

/// The first cluster, or the first block of one that has lost its beginning.
pub fn first_block<R: Read + Seek>(source: &mut Source<R>, len: u64) -> Option<ResumePoint> {
    let at = find(source, 0, len.min(MOST_SEARCHED_BYTES), len)?;
    let first = EbmlElement::at(source, at)?;
    if first.is_cluster() {
        return Some(ResumePoint { at, opening: Vec::new() });
    }
    let has_time = first.id == u64::from(TIMESTAMP);
    let time = if has_time { Vec::new() } else { number(&[TIMESTAMP], time_before(source, at, len).unwrap_or(0)) };
    Some(ResumePoint { at, opening: [&CLUSTER[..], &UNKNOWN, &time].concat() })
}

/// The first place of `from..until` where a cluster stands, or blocks that follow one another.
fn find<R: Read + Seek>(source: &mut Source<R>, from: u64, until: u64, len: u64) -> Option<u64> {
    let mut at = from;
    while at < until {
        let bytes = source.at(at, 16);
        let may_begin = |byte: &u8| matches!(*byte, 0x1F | TIMESTAMP | SIMPLE_BLOCK | BLOCK_GROUP);
        let Some(step) = bytes.iter().position(may_begin) else {
            at += (bytes.len() as u64).max(1);
            continue;
        };
        at += step as u64;
        if at < until && (is_cluster(source, at) || chain(source, at, len)) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn is_cluster<R: Read + Seek>(source: &mut Source<R>, at: u64) -> bool {
    let found = EbmlElement::at(source, at).filter(EbmlElement::is_cluster);
    found.is_some_and(|cluster| EbmlElement::at(source, cluster.body).is_some_and(|first| first.is_of_cluster()))
}

/// Whether blocks follow one another from a place on, up to what is no part of their cluster; its time may stand first.
fn chain<R: Read + Seek>(source: &mut Source<R>, from: u64, len: u64) -> bool {
    let (mut at, mut blocks) = (from, 0);
    for _ in 0..CHAIN + MOST_BETWEEN {
        if at == len && blocks > 0 {
            return true;
        }
        let Some(found) = EbmlElement::at(source, at) else { return false };
        let is_first = at == from;
        if blocks > 0 && found.is_of_segment() && !found.is_of_cluster() {
            return true;
        }
        let may_stand = found.block.is_some() || !is_first || found.id == u64::from(TIMESTAMP);
        let Some(end) = found.end.filter(|_| may_stand && found.is_of_cluster()) else { return false };
        blocks += u32::from(found.block.is_some());
        at = end;
        if blocks == CHAIN {
            break;
        }
    }
    blocks == CHAIN && at <= len
}

/// What makes a file whole: bytes in place of others, and how much of it is of use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterRepair {
    /// Places and the bytes that stand there afterwards.
    pub patches: Vec<(u64, Vec<u8>)>,
    /// How many places were hit, and how many bytes in them say nothing any more.
    pub hit: (u64, u64),
    /// Where the file ends; what is cut off are zeros and the block that they cut.
    pub len: u64,
}

/// Whether clusters follow one another up to the end of a file with a head, and in each its blocks, none of which says what
/// cannot be.
pub fn is_sound<R: Read + Seek>(source: &mut Source<R>, len: u64) -> bool {
    let Some(mut at) = segment_body(source) else { return true };
    let tracks = SegmentTracks::read(source, at);
    let mut cluster_end = None;
    while at < len {
        let Some(found) = EbmlElement::at(source, at) else { return false };
        cluster_end = cluster_end.filter(|end| at < *end);
        let is_known =
            if cluster_end.is_some() { found.is_of_cluster() } else { found.is_of_segment() || found.is_of_cluster() };
        if !is_known || tracks.fault(source, &found).is_some() {
            return false;
        }
        at = match found.end {
            _ if found.is_cluster() => {
                // One that is cut says nothing of what is in it.
                cluster_end = found.end.filter(|end| *end <= len);
                found.body
            }
            Some(end) if cluster_end.is_none_or(|last| end <= last) => end,
            _ => return false,
        };
    }
    true
}

fn segment_body<R: Read + Seek>(source: &mut Source<R>) -> Option<u64> {
    let head = EbmlElement::at(source, 0)?;
    Some(EbmlElement::at(source, head.end?)?.body)
}

/// Mends a file with a head whose media ends at `data_end` of `len` bytes; behind that are zeros.
pub fn repair<R: Read + Seek>(source: &mut Source<R>, data_end: u64, len: u64) -> ClusterRepair {
    let repair = ClusterRepair { len, ..ClusterRepair::default() };
    let Some(start) = segment_body(source) else { return repair };
    let tracks = SegmentTracks::read(source, start);
    let mut walk = ClusterWalk {
        source,
        tracks,
        end: data_end,
        len,
        repair,
        cluster: None,
        newest_body: None,
        block: None,
        newest: 0,
    };
    walk.run(start);
    walk.repair
}

/// The cluster that is being walked through.
#[derive(Debug, Clone, Copy)]
struct OpenCluster {
    size_at: u64,
    body: u64,
    /// Where it says that it ends, while that is believed.
    end: Option<u64>,
}

struct ClusterWalk<'a, R> {
    source: &'a mut Source<R>,
    tracks: SegmentTracks,
    end: u64,
    len: u64,
    repair: ClusterRepair,
    cluster: Option<OpenCluster>,
    /// Where the body of the newest cluster begins, open or not.
    newest_body: Option<u64>,
    /// Where the last element of the cluster began, if its end may be a lie.
    block: Option<u64>,
    /// Time of the newest block of the cluster.
    newest: i64,
}

impl<R: Read + Seek> ClusterWalk<'_, R> {
    fn run(&mut self, start: u64) {
        let mut at = start;
        while at < self.end && self.repair.patches.len() < MOST_PATCHES {
            self.close_at(at);
            let Some(next) = self.step(at).or_else(|| self.mend(at)) else { break };
            at = next;
        }
        if self.end < self.len {
            self.repair.len = self.repair.len.min(at.max(start));
        }
    }

    /// Ends the cluster where it says so, unless its blocks go on there.
    fn close_at(&mut self, at: u64) {
        let Some(open) = self.cluster.filter(|open| open.end.is_some_and(|end| end <= at)) else { return };
        if chain(self.source, at, self.end) && self.continues(at) {
            self.forget_end(open);
        } else {
            (self.cluster, self.block) = (None, None);
        }
    }

    /// Takes the size of a cluster away that lies.
    fn forget_end(&mut self, open: OpenCluster) {
        let width = usize::try_from(open.body - open.size_at).unwrap_or(8).clamp(1, 8);
        let mut size = UNKNOWN;
        let mark = 8 - width;
        size[mark] = 0xFF >> (width - 1);
        self.repair.patches.push((open.size_at, size[mark..].to_vec()));
        self.cluster = Some(OpenCluster { end: None, ..open });
    }

    /// The end of the element at a place, or the beginning of what is in it; `None` if none stands there.
    fn step(&mut self, at: u64) -> Option<u64> {
        let found = EbmlElement::at(self.source, at)?;
        if found.is_cluster() && (is_cluster(self.source, at) || self.ends_as_it_says(&found)) {
            if let Some(open) = self.cluster.filter(|open| open.end.is_some()) {
                self.forget_end(open);
            }
            let end = found.end.filter(|end| *end <= self.end);
            self.enter(OpenCluster { size_at: found.size_at, body: found.body, end });
            return Some(found.body);
        }
        let limit = self.cluster.map_or(self.len, |open| open.end.unwrap_or(self.len));
        let end = found.end.filter(|end| *end <= limit);
        if self.cluster.is_some() && found.is_of_cluster() {
            return self.step_in_cluster(at, &found);
        }
        let is_next = found.is_of_segment() && self.cluster.is_none_or(|open| open.end.is_none());
        let end = end.filter(|end| is_next && (*end == self.len || EbmlElement::at(self.source, *end).is_some()))?;
        (self.cluster, self.block) = (None, None);
        Some(end)
    }

    /// Whether something of a segment stands where an element says that it ends, although what is in it may have been hit.
    fn ends_as_it_says(&mut self, found: &EbmlElement) -> bool {
        let Some(end) = found.end.filter(|end| *end <= self.end) else { return false };
        end == self.end || EbmlElement::at(self.source, end).is_some_and(|next| next.is_of_segment())
    }

    fn enter(&mut self, open: OpenCluster) {
        (self.cluster, self.newest_body) = (Some(open), Some(open.body));
        (self.block, self.newest) = (None, 0);
    }

    fn step_in_cluster(&mut self, at: u64, found: &EbmlElement) -> Option<u64> {
        let end = found.end?;
        if end > self.len {
            // What goes on behind it shows that it says too much.
            let is_cut = find(self.source, at + 1, self.end, self.end).is_none();
            return is_cut.then(|| self.cut(at, self.len));
        }
        if end >= self.end + BLOCK_ZERO_BYTES {
            return Some(self.cut(at, self.end));
        }
        if let Some(open) = self.cluster.filter(|open| open.end.is_some_and(|last| end > last)) {
            // One of the two lies: the element if nothing stands where it ends.
            if !(is_cluster(self.source, end) || chain(self.source, end, self.end)) {
                return None;
            }
            self.forget_end(open);
        }
        self.newest = self.newest.max(found.block.map_or(self.newest, |block| block.time));
        self.block = Some(at);
        self.correct(at..end, found);
        Some(end)
    }

    /// Takes what a block says wrongly out of the way of those behind it.
    fn correct(&mut self, place: Range<u64>, found: &EbmlElement) {
        match self.tracks.fault(self.source, found) {
            Some(BlockFault::Stray) => {
                self.repair.hit.0 += 1;
                self.blank(place.start, place.end);
            }
            Some(BlockFault::Lacing { at, flags }) => {
                self.repair.hit.0 += 1;
                self.repair.patches.push((at, vec![flags]));
            }
            None => {}
        }
    }

    /// A block that the end cuts off; one whose rest are zeros goes with them.
    fn cut(&mut self, at: u64, end: u64) -> u64 {
        if self.end < self.len {
            self.repair.len = at;
        }
        end
    }

    /// Mends what stands at a place; where the walk goes on, if anything is behind it.
    fn mend(&mut self, bad: u64) -> Option<u64> {
        // The element before it may be the one that lies.
        let suspect = self.block.take();
        let next = match find(self.source, suspect.unwrap_or(bad) + 1, self.end, self.end) {
            Some(next) => next,
            // Behind the last cluster stand no blocks any more.
            None => self.cluster.and_then(|open| open.end).filter(|end| bad < *end && *end < self.end)?,
        };
        self.repair.hit.0 += 1;
        let from = suspect.filter(|_| next < bad).unwrap_or(bad);
        if let Some(open) = self.cluster
            && let Some(end) = open.end
        {
            if next < end {
                return self.fill(from, next);
            }
            if next == end
                || (end > bad && EbmlElement::at(self.source, end).is_some_and(|found| found.is_of_segment()))
            {
                return self.fill(from, end);
            }
            self.forget_end(open);
        }
        let first = EbmlElement::at(self.source, next)?;
        if first.is_cluster() || self.continues(next) {
            return self.fill(from, next);
        }
        self.open_anew(from, next, first.id == u64::from(TIMESTAMP))
    }

    /// Whether the block at a place may belong to the open cluster by its time.
    fn continues(&mut self, at: u64) -> bool {
        let block = EbmlElement::at(self.source, at).and_then(|found| found.block);
        self.cluster.is_some()
            && block.is_some_and(|block| block.time + REORDER_TICKS.min(self.newest / 2) >= self.newest)
    }

    fn fill(&mut self, from: u64, next: u64) -> Option<u64> {
        if next - from < 2 {
            // No element is so short; the next one goes too.
            let end = EbmlElement::at(self.source, next)?.end?;
            return self.fill(from, end.min(self.len));
        }
        self.blank(from, next);
        Some(next)
    }

    fn blank(&mut self, from: u64, to: u64) {
        self.repair.hit.1 += to - from;
        self.repair.patches.push((from, void(to - from)));
    }

    /// Opens a cluster at the end of `from..next`.
    fn open_anew(&mut self, from: u64, next: u64, has_time: bool) -> Option<u64> {
        let time = if has_time { Vec::new() } else { timestamp(self.time_at(next)) };
        let room = next - from;
        let mut opening = [&CLUSTER[..], &[0xFF], &time].concat();
        if room == opening.len() as u64 + 1 {
            opening = [&CLUSTER[..], &[0x7F, 0xFF], &time].concat();
        }
        let Some(left) = room.checked_sub(opening.len() as u64) else {
            let end = EbmlElement::at(self.source, next)?.end?;
            return self.open_anew(from, end.min(self.end), false);
        };
        if left > 0 {
            self.blank(from, from + left);
        }
        self.repair.patches.push((from + left, opening));
        self.enter(OpenCluster { size_at: from + left + 4, body: next, end: None });
        Some(next)
    }

    fn time_at(&mut self, blocks: u64) -> u64 {
        let behind = time_before(self.source, blocks, self.end);
        let newest = self.newest_body.filter(|_| behind.is_none());
        let before = newest.map(|body| BlockTimes::read(self.source, body, self.end));
        behind.or_else(|| time_behind(self.source, &before?, blocks, self.end)).unwrap_or(0)
    }
}

/// `Timestamp` in as few bytes as it needs.
fn timestamp(time: u64) -> Vec<u8> {
    let bytes = time.to_be_bytes();
    let used = &bytes[(time.leading_zeros() as usize / 8).min(7)..];
    [&[TIMESTAMP, 0x80 | u8::try_from(used.len()).unwrap_or(8)], used].concat()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::salvage::heads::ebml::{EBML, SEGMENT, TRACKS, element};

    const BLOCK_BYTES: usize = 9 + 4 + 90;

    fn block(time: i64) -> Vec<u8> {
        let [high, low] = i16::try_from(time).unwrap().to_be_bytes();
        element(&[SIMPLE_BLOCK], &[&[0x81, high, low, 0x80][..], &[7; 90]].concat())
    }

    /// Three clusters of 50 blocks, 40 ticks apart; where each begins.
    fn whole(is_live: bool) -> (Vec<u8>, Vec<usize>) {
        let mut file = [element(&EBML, &[5; 20]), SEGMENT.to_vec(), UNKNOWN.to_vec()].concat();
        let mut places = Vec::new();
        for cluster in 0..3_u64 {
            places.push(file.len());
            let blocks: Vec<u8> = (0..50).flat_map(|n| block(n * 40)).collect();
            let body = [timestamp(cluster * 2000 + 21), blocks].concat();
            let live = [&CLUSTER[..], &UNKNOWN, &body].concat();
            file.extend(if is_live { live } else { element(&CLUSTER, &body) });
        }
        (file, places)
    }

    /// The times of all blocks of a file that is sound.
    fn times(file: &[u8]) -> Vec<i64> {
        let len = file.len() as u64;
        let mut source = Source::new(Cursor::new(file), len);
        assert!(is_sound(&mut source, len), "what was mended is sound");
        let (mut at, mut time, mut found) = (segment_body(&mut source).unwrap(), 0, Vec::new());
        while at < len {
            let one = EbmlElement::at(&mut source, at).unwrap();
            if one.id == u64::from(TIMESTAMP) {
                let bytes = source.at(one.body, 8)[..usize::try_from(one.end.unwrap() - one.body).unwrap()].to_vec();
                time = bytes.iter().fold(0, |time, byte| time << 8 | i64::from(*byte));
            }
            found.extend(one.block.map(|block| block.time + time));
            at = if one.is_cluster() { one.body } else { one.end.unwrap() };
        }
        found
    }

    fn mended(hit: &[u8]) -> Vec<u8> {
        let len = hit.len() as u64;
        let data_end = hit.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        let repair = repair(&mut Source::new(Cursor::new(hit), len), data_end, len);
        let mut file = hit.to_vec();
        for (at, bytes) in repair.patches {
            let at = usize::try_from(at).unwrap();
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        file.truncate(usize::try_from(repair.len).unwrap());
        file
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        for is_live in [false, true] {
            let (file, _) = whole(is_live);
            assert!(mended(&file) == file, "live {is_live}");
            assert_eq!(times(&file).len(), 150);
        }
    }

    #[test]
    fn blocks_whose_cluster_has_lost_its_header_keep_their_times() {
        let all = times(&whole(false).0);
        // The header, with its time, and with so much of the first block that there is no room for a new one in front.
        for (zeroed, lost) in [(12, 0), (14, 0), (12 + 4, 0), (12 + 4 + 3, 1), (12 + 4 + 150, 2)] {
            for (is_live, cluster) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
                let (mut file, places) = whole(is_live);
                file[places[cluster]..places[cluster] + zeroed].fill(0);
                let mut expected = all.clone();
                expected.drain(cluster * 50..cluster * 50 + lost);
                assert!(times(&mended(&file)) == expected, "{zeroed} live {is_live} {cluster}");
            }
        }
    }

    #[test]
    fn a_size_that_lies_costs_nothing() {
        let (all, (file, places)) = (times(&whole(false).0), whole(false));
        for flipped in [1 << 4, 1 << 12, 1 << 20, 1 << 8] {
            let mut hit = file.clone();
            let size = u32::from_be_bytes(hit[places[1] + 8..places[1] + 12].try_into().unwrap()) ^ flipped;
            hit[places[1] + 8..places[1] + 12].copy_from_slice(&size.to_be_bytes());
            assert!(times(&mended(&hit)) == all, "{flipped:#x}");
        }
    }

    /// The same with the tracks in front: one, which is not laced.
    fn with_tracks(is_live: bool) -> (Vec<u8>, usize) {
        let entry = element(&[0xAE], &[&[0xD7, 0x81, 1][..], &[0x9C, 0x81, 0]].concat());
        let (file, places) = whole(is_live);
        let tracks = element(&TRACKS, &entry);
        ([&file[..places[0]], &tracks, &file[places[0]..]].concat(), places[1] + tracks.len() + 16)
    }

    #[test]
    fn a_block_that_says_what_cannot_be_takes_nobody_with_it() {
        for is_live in [false, true] {
            let (file, first) = with_tracks(is_live);
            let (all, block) = (times(&file), first + 10 * BLOCK_BYTES);
            assert!(mended(&file) == file && all.len() == 150);
            // Flags that say laced: all stay. Another track, another element, a size that is too long or too short: all others do.
            for (byte, bit, lost) in [(12, 2, 0), (12, 6, 0), (9, 2, 1), (0, 8, 1), (7, 1, 1), (8, 64, 1), (8, 2, 1)] {
                let mut hit = file.clone();
                hit[block + byte] ^= bit;
                assert!(!is_sound(&mut Source::new(Cursor::new(&hit), hit.len() as u64), hit.len() as u64), "{byte}");
                let found = times(&mended(&hit));
                assert!(found.len() >= 150 - lost && found.is_sorted(), "{byte} {bit} live {is_live}: {}", found.len());
            }
        }
    }

    #[test]
    fn a_hole_costs_the_blocks_in_it() {
        for is_live in [false, true] {
            let (mut file, places) = whole(is_live);
            let first = places[1] + 16 + 10 * BLOCK_BYTES;
            file[first + 20..first + 20 + 3 * BLOCK_BYTES].fill(0);
            let found = times(&mended(&file));
            // The block whose header is before the hole is whole by its size.
            assert!((146..=147).contains(&found.len()) && found.is_sorted(), "{}", found.len());
        }
    }

    #[test]
    fn zeros_at_the_end_go_with_the_block_that_they_cut() {
        for is_live in [false, true] {
            let (file, places) = whole(is_live);
            let cut = places[2] + 16 + 10 * BLOCK_BYTES + 50;
            let hit = [&file[..cut], &[0; 5000]].concat();
            assert!(mended(&hit) == file[..places[2] + 16 + 10 * BLOCK_BYTES], "live {is_live}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_mended_soon_and_inside_the_file(
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..30), is_live in any::<bool>(),
        ) {
            let (mut file, _) = whole(is_live);
            for (at, byte) in flips {
                *at.get_mut(&mut file) = byte;
            }
            prop_assert!(mended(&file).len() <= file.len());
        }
    }
}
