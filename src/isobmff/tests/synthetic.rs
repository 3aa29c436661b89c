//! Files made byte by byte, for what no muxer at hand writes.

use crate::isobmff::cursor::{ChildBox, children, children_of};
use crate::isobmff::encode::{boxed, full_boxed, put_u32, put_u64};
use crate::isobmff::{FourCc, Layout, Movie, Track, top_level};

/// A `moov` with a box appended inside the box at `path` (in every box of that name).
pub(super) fn with_box(moov: &[u8], path: &[&[u8; 4]], addition: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append(&children(moov, 0).next().unwrap(), path, addition, &mut out);
    out
}

fn append(found: &ChildBox<'_>, path: &[&[u8; 4]], addition: &[u8], out: &mut Vec<u8>) {
    boxed(out, found.fourcc.0, |out| {
        let Some((next, rest)) = path.split_first() else {
            out.extend(found.body);
            out.extend(addition);
            return;
        };
        for child in children_of(found) {
            if child.fourcc.0 == **next { append(&child, rest, addition, out) } else { out.extend(child.raw) }
        }
    });
}

/// A video track of timescale 1000 without samples.
pub(super) fn track(id: u32, descriptions: u8) -> Track {
    let mut stsd = vec![0, 0, 0, 16 + 16 * descriptions];
    stsd.extend(*b"stsd\0\0\0\0\0\0\0");
    stsd.push(descriptions);
    for _ in 0..descriptions {
        stsd.extend(*b"\0\0\0\x10avc1\0\0\0\0\0\0\0\x01");
    }
    Track::new(id, FourCc(*b"vide"), 1000, &stsd, (16, 16)).unwrap()
}

/// `ftyp` and a `moov` that announces fragments of the tracks.
pub(super) fn init(tracks: Vec<Track>) -> Vec<u8> {
    let mut movie = Movie::new(1000);
    movie.tracks = tracks;
    let mut mvex = Vec::new();
    boxed(&mut mvex, *b"mvex", |out| {
        for track in &movie.tracks {
            full_boxed(out, *b"trex", 0, 0, |out| {
                for word in [track.id(), 1, 40, 0, 0] {
                    put_u32(out, word);
                }
            });
        }
    });
    let mut out = b"\0\0\0\x10ftypiso5\0\0\0\0".to_vec();
    out.extend(with_box(&movie.to_moov(0).unwrap(), &[], &mvex));
    out
}

/// A track fragment: when it begins, what is in `traf` beside `tfhd`, `tfdt` and `trun`, and its samples.
pub(super) struct Fragment<'a> {
    pub(super) track: u32,
    pub(super) begins: u64,
    pub(super) description: u32,
    /// (size, duration, composition offset)
    pub(super) samples: &'a [(u32, u32, i32)],
    pub(super) extra: &'a [u8],
}

/// Appends a `moof` with one track fragment, and its `mdat` filled with the fragment's number.
pub(super) fn append_fragment(file: &mut Vec<u8>, fragment: &Fragment<'_>) {
    let size: u32 = fragment.samples.iter().map(|s| s.0).sum();
    // The data offset counts the `moof` that it stands in, so the box is written twice.
    let moof = |data_offset| {
        let mut moof = Vec::new();
        boxed(&mut moof, *b"moof", |out| boxed(out, *b"traf", |out| track_fragment(out, fragment, data_offset)));
        moof
    };
    let length = u32::try_from(moof(0).len()).unwrap();
    file.extend(moof(length + 8));
    put_u32(file, size + 8);
    file.extend(*b"mdat");
    file.resize(file.len() + size as usize, 0xAA);
}

fn track_fragment(out: &mut Vec<u8>, fragment: &Fragment<'_>, data_offset: u32) {
    full_boxed(out, *b"tfhd", 0, 0x02_0002, |out| {
        put_u32(out, fragment.track);
        put_u32(out, fragment.description);
    });
    full_boxed(out, *b"tfdt", 1, 0, |out| put_u64(out, fragment.begins));
    full_boxed(out, *b"trun", 1, 0xB01, |out| {
        put_u32(out, u32::try_from(fragment.samples.len()).unwrap());
        put_u32(out, data_offset);
        for (size, duration, composition) in fragment.samples {
            put_u32(out, *duration);
            put_u32(out, *size);
            put_u32(out, composition.cast_unsigned());
        }
    });
    out.extend(fragment.extra);
}

pub(super) fn layout_of(file: &[u8]) -> Layout {
    top_level(&mut std::io::Cursor::new(file), file.len() as u64).unwrap()
}
