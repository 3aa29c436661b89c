//! Surgery on the boxes of MP4 files, for what no muxer at hand writes.

use std::ops::Range;

/// One box: its type, where it lies, how long its header is.
#[derive(Debug, Clone)]
pub struct BoxSpan {
    pub kind: [u8; 4],
    pub range: Range<usize>,
    pub header: usize,
}

impl BoxSpan {
    pub const fn body(&self) -> Range<usize> {
        self.range.start + self.header..self.range.end
    }

    pub fn is(&self, kind: [u8; 4]) -> bool {
        self.kind == kind
    }
}

/// The boxes that lie in a range of a file, one after the other.
pub fn boxes(bytes: &[u8], range: Range<usize>) -> Vec<BoxSpan> {
    let (mut at, mut found) = (range.start, Vec::new());
    while at + 8 <= range.end {
        let kind = bytes[at + 4..at + 8].try_into().unwrap();
        let (size, header) = match number(bytes, at, 4) {
            0 => (range.end - at, 8),
            1 => (usize::try_from(number(bytes, at + 8, 8)).unwrap(), 16),
            size => (usize::try_from(size).unwrap(), 8),
        };
        found.push(BoxSpan { kind, range: at..(at + size).min(range.end), header });
        at += size;
    }
    found
}

pub fn top(bytes: &[u8]) -> Vec<BoxSpan> {
    boxes(bytes, 0..bytes.len())
}

/// All boxes at a path such as `moov/trak/mdia`, inside a range.
pub fn at_path(bytes: &[u8], range: Range<usize>, path: &str) -> Vec<BoxSpan> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let here = boxes(bytes, range).into_iter().filter(|b| b.kind == first.as_bytes());
    if rest.is_empty() { here.collect() } else { here.flat_map(|b| at_path(bytes, b.body(), rest)).collect() }
}

pub fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub fn set_number(bytes: &mut [u8], at: usize, len: usize, value: u64) {
    bytes[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
}

/// The head of a fragmented file, then each `moof` with the `mdat` behind it; what follows the last is left out.
pub fn fragments(bytes: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let all = top(bytes);
    let first = all.iter().find(|b| b.is(*b"moof")).unwrap().range.start;
    let pairs = all.windows(2).filter(|pair| pair[0].is(*b"moof") && pair[1].is(*b"mdat"));
    let fragments = pairs.map(|pair| bytes[pair[0].range.start..pair[1].range.end].to_vec()).collect();
    (bytes[..first].to_vec(), fragments)
}

/// A fragment whose decoding times are others: `change` gets the track and its time.
pub fn retimed(fragment: &[u8], change: impl Fn(u64, u64) -> u64) -> Vec<u8> {
    let mut out = fragment.to_vec();
    for traf in at_path(fragment, 0..fragment.len(), "moof/traf") {
        let inside = |kind| at_path(fragment, traf.body(), kind).remove(0).body().start;
        let (track, tfdt) = (number(fragment, inside("tfhd") + 4, 4), inside("tfdt"));
        let len = if fragment[tfdt] == 0 { 4 } else { 8 };
        set_number(&mut out, tfdt + 4, len, change(track, number(fragment, tfdt + 4, len)));
    }
    out
}

/// A fragment with its media in front of its `moof`.
pub fn media_first(fragment: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let all = top(fragment);
    let (moof, mdat) = (fragment[all[0].range.clone()].to_vec(), fragment[all[1].range.clone()].to_vec());
    let mut moved = moof.clone();
    let back = u64::try_from(moof.len() + mdat.len()).unwrap();
    for trun in at_path(&moof, 0..moof.len(), "moof/traf/trun") {
        let at = trun.body().start + 8;
        let offset = number(&moof, at, 4).wrapping_sub(back) & 0xFFFF_FFFF;
        set_number(&mut moved, at, 4, offset);
    }
    (mdat, moved)
}
