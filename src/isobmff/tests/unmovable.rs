//! Absolute offsets outside the chunk tables: moved, or refused in words.

use super::synthetic::{layout_of, track, with_box};
use super::{fixture, read};
use crate::isobmff::cursor::{children, children_of};
use crate::isobmff::encode::{boxed, full_boxed, put_u32, put_u64};
use crate::isobmff::tables::stsc::ChunkRun;
use crate::isobmff::tables::stsz::SampleSizes;
use crate::isobmff::{FrontPlan, IsoError, Movie, relocated};

const STBL: [&[u8; 4]; 4] = [b"trak", b"mdia", b"minf", b"stbl"];

fn moov() -> Vec<u8> {
    read(&fixture()).2.raw().to_vec()
}

fn refused(result: Result<Vec<u8>, IsoError>, expected: &str) {
    match result {
        Err(IsoError::Unmovable { fourcc, .. }) => assert_eq!(fourcc.to_string(), expected),
        other => panic!("{other:?}"),
    }
}

/// The boxes of one type in the first track's sample table.
fn table(moov: &[u8], fourcc: [u8; 4]) -> Vec<u8> {
    let mut found = children(moov, 0).next().unwrap();
    for name in STBL.iter().copied().chain([&fourcc]) {
        found = children_of(&found).find(|b| b.fourcc.0 == *name).unwrap();
    }
    found.raw.to_vec()
}

#[test]
fn auxiliary_information_is_moved_and_widened() {
    let mut saio = Vec::new();
    full_boxed(&mut saio, *b"saio", 0, 1, |out| {
        out.extend(*b"cenc\0\0\0\0");
        put_u32(out, 1);
        put_u32(out, 4000);
    });
    let old = with_box(&moov(), &STBL, &saio);
    let near = relocated(&old, &|offset| offset + 4096).unwrap();
    assert_eq!(table(&near, *b"saio")[24..], 8096_u32.to_be_bytes());
    let far = table(&relocated(&old, &|offset| offset + (1 << 32)).unwrap(), *b"saio");
    assert_eq!((far[8], &far[24..]), (1, &((1_u64 << 32) + 4000).to_be_bytes()[..]));
}

#[test]
fn items_by_file_offset_are_refused_and_others_are_not() {
    let meta = |method: u16| {
        let mut udta = Vec::new();
        boxed(&mut udta, *b"udta", |out| {
            full_boxed(out, *b"meta", 0, 0, |out| {
                full_boxed(out, *b"iloc", 1, 0, |out| {
                    out.extend([0x44, 0x00, 0, 1, 0, 1]);
                    out.extend(method.to_be_bytes());
                    out.extend([0, 0, 0, 1]);
                    put_u64(out, 0);
                });
            });
        });
        udta
    };
    refused(relocated(&with_box(&moov(), &[], &meta(0)), &|o| o + 1), "iloc");
    refused(relocated(&with_box(&moov(), &[b"trak"], &meta(0)), &|o| o + 1), "iloc");
    assert!(relocated(&with_box(&moov(), &[], &meta(1)), &|o| o + 1).is_ok());
}

#[test]
fn a_compressed_header_is_refused() {
    refused(relocated(&with_box(&moov(), &[], b"\0\0\0\x08cmov"), &|o| o + 1), "cmov");
    let only = b"\0\0\0\x10moov\0\0\0\x08cmov".to_vec();
    assert!(matches!(Movie::from_moov(only), Err(IsoError::Compressed { .. })));
}

#[test]
fn chunks_in_other_files_stay_where_they_are() {
    let mut elsewhere = track(1, 1);
    elsewhere.tables.chunk_offsets = vec![500];
    elsewhere.tables.chunk_runs = vec![ChunkRun { first_chunk: 1, samples_per_chunk: 1, description_index: 1 }];
    elsewhere.tables.sizes = SampleSizes::List(vec![4]);
    let mut movie = Movie::new(1000);
    movie.tracks = vec![elsewhere];
    let mut bytes = movie.to_moov(0).unwrap();
    let dref = bytes.windows(4).position(|w| w == b"url ").unwrap();
    bytes[dref + 7] = 0; // not self-contained
    let moved = Movie::from_moov(relocated(&bytes, &|o| o + 4096).unwrap()).unwrap();
    assert!(moved.tracks[0].is_external());
    assert_eq!(moved.tracks[0].tables.chunk_offsets, [500]);
}

#[test]
fn indexes_outside_the_header_are_refused() {
    let (_, _, movie) = read(&fixture());
    for extra in [b"\0\0\0\x08mfra", b"\0\0\0\x08meta"] {
        let file = [&b"\0\0\0\x10ftypisom\0\0\0\0"[..], extra, &b"\0\0\0\x08mdat"[..], &moov()].concat();
        let layout = layout_of(&file);
        for plan in [FrontPlan::whole(&layout, &movie, &[], 4096), FrontPlan::compact(&layout, &movie, &[], 1)] {
            refused(plan.map(|plan| plan.header), &extra[4..].escape_ascii().to_string());
        }
    }
}

#[test]
fn unknown_boxes_and_what_follows_the_moov_survive() {
    let unknown = b"\0\0\0\x0Dxyz \xDE\xAD\xBE\xEF\x01";
    let old = with_box(&with_box(&moov(), &STBL, unknown), &[b"trak"], unknown);
    let new = relocated(&old, &|o| o + (1 << 32)).unwrap();
    assert_eq!(new.windows(unknown.len()).filter(|w| w == unknown).count(), 4);
    let movie = Movie::from_moov(old.clone()).unwrap();
    let written = movie.to_moov(0).unwrap();
    assert_eq!(written.windows(unknown.len()).filter(|w| w == unknown).count(), 4);
    let file = [&b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x0Cmdatabcd"[..], &old, &b"\0\0\0\x0Cuuidtail"[..]].concat();
    let plan = FrontPlan::compact(&layout_of(&file), &movie, b"\0\0\0\x10ftypisom\0\0\0\0", 1).unwrap();
    let kept: Vec<u8> = plan
        .body_ranges
        .iter()
        .flat_map(|r| &file[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()])
        .copied()
        .collect();
    assert_eq!(kept, b"\0\0\0\x0Cmdatabcd\0\0\0\x0Cuuidtail");
}

#[test]
fn a_box_that_leaves_its_parent_is_refused() {
    let mut bytes = moov();
    let at = bytes.windows(4).position(|w| w == b"stbl").unwrap();
    bytes[at - 4] = 0x7F;
    assert!(matches!(relocated(&bytes, &|o| o), Err(IsoError::Malformed { .. })));
}
