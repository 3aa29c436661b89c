//! Headers brought to the front: FFmpeg reads the same packets at the same times.

use super::{applied, fixture, framehash, ftyp, made, opened, read};
use crate::isobmff::{
    FileShape, FrontPlan, IsoError, Movie, first_difference, first_payload_digests, payload_digests, relocated,
    validate,
};

const BLOCK: u64 = 4096;

#[test]
fn a_header_in_front_of_the_whole_file_plays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new.mp4");
    let timecode =
        ["-map", "0:v", "-map", "1:a", "-timecode", "01:00:00:00", "-c:a", "pcm_s16le", "-metadata", "title=x"];
    for (name, options) in [
        ("timecode.mov", &timecode[..]),
        ("hints.mp4", &["-map", "0:v", "-map", "1:a", "-movflags", "+rtphint"]),
        ("no_edits.mp4", &["-map", "0:v", "-map", "1:a", "-use_editlist", "0"]),
        ("a.mp4", &["-map", "0:v", "-map", "1:a"][..]),
        ("b.mov", &["-map", "0:v", "-map", "1:a", "-map", "2:a"]),
    ] {
        let old = made(dir.path(), name, options);
        let (mut file, layout, movie) = read(&old);
        assert_eq!(validate(&movie, &layout).defects, [], "{name}");
        let plan = FrontPlan::whole(&layout, &movie, &ftyp(&old, &layout), BLOCK).unwrap();
        assert_eq!(plan.header.len() as u64 % BLOCK, 0);
        applied(&plan, &old, &new);
        assert_eq!(framehash(&new), framehash(&old));
        let (mut moved, layout, again) = read(&new);
        assert_eq!(layout.shape(), FileShape::HeaderFirst);
        assert_eq!(layout.garbage_at, None);
        assert_eq!(
            first_payload_digests(&mut moved, &again).unwrap(),
            first_payload_digests(&mut file, &movie).unwrap()
        );
        let shift = plan.header.len() as u64;
        assert_eq!(first_difference(&movie, &again, &|offset| offset + shift), None);
        assert!(first_difference(&movie, &again, &|offset| offset).is_some());
        assert_eq!(payload_digests(&mut moved, &again).unwrap(), payload_digests(&mut file, &movie).unwrap());
    }
}

#[test]
fn a_compact_file_leaves_only_the_old_headers_out() {
    let dir = tempfile::tempdir().unwrap();
    let old = made(dir.path(), "old.mp4", &["-map", "0:v", "-map", "1:a"]);
    let new = dir.path().join("new.mp4");
    let (_, layout, movie) = read(&old);
    for block in [1, BLOCK] {
        let plan = FrontPlan::compact(&layout, &movie, &ftyp(&old, &layout), block).unwrap();
        applied(&plan, &old, &new);
        assert_eq!(framehash(&new), framehash(&old));
        assert_eq!(plan.header.len() as u64 % block, plan.body_ranges[0].start % block);
        let (_, layout) = opened(&new);
        assert_eq!((layout.shape(), layout.all(b"moov").count()), (FileShape::HeaderFirst, 1));
    }
    let exact = FrontPlan::compact(&layout, &movie, &ftyp(&old, &layout), 1).unwrap();
    assert_eq!(exact.len(), layout.len);
}

#[test]
fn a_whole_file_becomes_the_content_of_one_media_box() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new.mp4");
    for name in ["a.mp4", "b.mov"] {
        let old = made(dir.path(), name, &["-map", "0:v", "-map", "1:a"]);
        let (mut file, layout, movie) = read(&old);
        let plan = FrontPlan::wrapping(&layout, &movie, &ftyp(&old, &layout)).unwrap();
        assert_eq!(plan.body_ranges.as_slice(), std::slice::from_ref(&(0..layout.len)));
        applied(&plan, &old, &new);
        assert_eq!(framehash(&new), framehash(&old), "{name}");
        let (mut wrapped, layout, again) = read(&new);
        let boxes: Vec<_> = layout.boxes.iter().map(|b| b.fourcc.to_string()).collect();
        assert_eq!((boxes.join(" ").as_str(), layout.garbage_at), ("ftyp moov mdat", None), "{name}");
        assert_eq!(validate(&again, &layout).defects, [], "{name}");
        assert_eq!(payload_digests(&mut wrapped, &again).unwrap(), payload_digests(&mut file, &movie).unwrap());
    }
}

#[test]
fn a_box_that_readers_would_miss_is_not_hidden_in_the_media() {
    let dir = tempfile::tempdir().unwrap();
    let old = made(dir.path(), "old.mp4", &["-map", "0:v", "-map", "1:a"]);
    let uuid = [&24_u32.to_be_bytes()[..], b"uuid", &[7; 16]].concat();
    std::fs::write(&old, [std::fs::read(&old).unwrap(), uuid].concat()).unwrap();
    let (_, layout, movie) = read(&old);
    let refused = FrontPlan::wrapping(&layout, &movie, &ftyp(&old, &layout));
    assert!(matches!(refused, Err(IsoError::Unmovable { fourcc, .. }) if fourcc.to_string() == "uuid"), "{refused:?}");
    assert!(FrontPlan::compact(&layout, &movie, &ftyp(&old, &layout), 1).is_ok());
}

#[test]
fn offsets_beyond_four_gibibytes_widen_the_table_and_its_parents() {
    let (_, _, movie) = read(&fixture());
    let shift = u64::from(u32::MAX) - 1000;
    let bytes = relocated(movie.raw(), &|offset| offset + shift).unwrap();
    assert!(bytes.len() > movie.raw().len());
    let moved = Movie::from_moov(bytes).unwrap();
    assert_eq!(moved.defects, []);
    for (old, new) in movie.tracks.iter().zip(&moved.tracks) {
        assert!(old.samples().zip(new.samples()).all(|(old, new)| old.offset + shift == new.offset));
        assert_eq!(old.tables.sizes, new.tables.sizes);
    }
}

#[test]
fn a_move_by_nothing_changes_no_byte() {
    let (_, _, movie) = read(&fixture());
    assert_eq!(relocated(movie.raw(), &|offset| offset).unwrap(), movie.raw());
}

#[test]
fn a_header_written_from_the_movie_plays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new.mp4");
    let old = made(dir.path(), "old.mp4", &["-map", "0:v", "-map", "1:a", "-map", "2:a"]);
    let (_, layout, movie) = read(&old);
    let plan = FrontPlan::spanning(&movie, &movie.to_ftyp(&ftyp(&old, &layout)), layout.len, BLOCK).unwrap();
    applied(&plan, &old, &new);
    assert_eq!(framehash(&new), framehash(&old));
    let (_, layout, again) = read(&new);
    assert_eq!(layout.boxes.iter().map(|b| b.fourcc.to_string()).collect::<Vec<_>>(), ["ftyp", "moov", "free", "mdat"]);
    assert_eq!(again.tracks[0].descriptions, movie.tracks[0].descriptions);
}
