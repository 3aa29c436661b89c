//! Boxes that nobody here knows, such as MediaMTX's `mtxi`, are in the finished file as they were.

use super::whole::{finished, options, settled};
use super::*;
use crate::finish::SpliceMode;
use crate::isobmff::top_level;
use crate::recording::SpliceMethod;

/// What MediaMTX puts into `moov` and `udta` of its segments, as long as it is with a name of the stream in it.
fn mtxi(content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(8 + content.len()).unwrap();
    [&size.to_be_bytes()[..], b"mtxi", content].concat()
}

fn enclosed(fourcc: [u8; 4], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(8 + content.len()).unwrap();
    [&size.to_be_bytes()[..], &fourcc, content].concat()
}

/// A fragmented recording whose offsets count from each `moof`, so that boxes may be put before it, with unknown boxes at
/// the top level between fragments, in `moov`, in its `udta`, and at the end of the first `moof`.
fn with_unknown_boxes() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.mp4");
    let flags = "+frag_keyframe+empty_moov+default_base_moof";
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(made("last"))
        .args(["-c", "copy", "-movflags", flags])
        .arg(&path)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let bytes = std::fs::read(&path).unwrap();
    let layout = top_level(&mut std::io::Cursor::new(&bytes), bytes.len() as u64).unwrap();
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let moov = *layout.first(b"moov").unwrap();
    let more = [mtxi(b"in moov"), enclosed(*b"udta", &mtxi(b"in udta"))].concat();
    let mut changed = bytes[..at(moov.end())].to_vec();
    changed.extend(&more);
    let size = u32::try_from(moov.size_bytes).unwrap() + u32::try_from(more.len()).unwrap();
    changed[at(moov.offset)..at(moov.offset) + 4].copy_from_slice(&size.to_be_bytes());
    let mut from = at(moov.end());
    for moof in layout.all(b"moof") {
        changed.extend(&bytes[from..at(moof.offset)]);
        changed.extend(mtxi(b"between fragments"));
        from = at(moof.offset);
    }
    changed.extend(&bytes[from..]);
    changed.extend(mtxi(b"at the end"));
    changed
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn boxes_that_are_not_known_survive_every_way_of_finishing() {
    let bytes = with_unknown_boxes();
    for (kind, image) in images() {
        for splice in [SpliceMode::InsertRange, SpliceMode::Reflink, SpliceMode::CopyRange, SpliceMode::Copy] {
            let source = image.path().join("unknown.mp4");
            std::fs::write(&source, &bytes).unwrap();
            settle(&source);
            let (done, _) = finished(&settled(&source, false), &options(splice)).unwrap();
            assert_ne!(done.record.splice, None);
            let written = std::fs::read(&done.written_path).unwrap();
            assert_eq!(shape(&done.written_path), FileShape::HeaderFirst, "{kind} {splice:?}");
            let layout = top_level(&mut std::io::Cursor::new(&written), written.len() as u64).unwrap();
            let moov = layout.first(b"moov").unwrap();
            let range = usize::try_from(moov.offset).unwrap()..usize::try_from(moov.end()).unwrap();
            for content in [&b"in moov"[..], b"in udta"] {
                assert!(holds(&written[range.clone()], &mtxi(content)), "{kind} {splice:?}");
            }
            // Everything else stays where it was: the old file is inside the finished one, to its last byte.
            assert!(written.ends_with(&bytes), "{kind} {splice:?}");
            std::fs::remove_file(&done.written_path).unwrap();
            let _ = std::fs::remove_file(&source);
        }
    }
}

#[test]
fn boxes_that_are_not_known_survive_a_header_that_is_moved() {
    for (kind, image) in images() {
        for (splice, way) in
            [(SpliceMode::InsertRange, SpliceMethod::InsertRange), (SpliceMode::CopyRange, SpliceMethod::CopyRange)]
        {
            let source = put(&image, "last", "unknown.mp4");
            let mut bytes = std::fs::read(&source).unwrap();
            let layout = top_level(&mut std::io::Cursor::new(&bytes), bytes.len() as u64).unwrap();
            let moov = *layout.first(b"moov").unwrap();
            assert_eq!(moov.end(), bytes.len() as u64, "the header is last");
            let at = usize::try_from(moov.offset).unwrap();
            let more = mtxi(b"in moov");
            let size = u32::try_from(moov.size_bytes + more.len() as u64).unwrap();
            bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
            bytes.extend(&more);
            // At the top level behind the header.
            bytes.extend(mtxi(b"at the top"));
            std::fs::write(&source, &bytes).unwrap();
            settle(&source);
            let (done, _) = finished(&settled(&source, false), &options(splice)).unwrap();
            assert_eq!(done.record.splice, Some(way), "{kind}");
            let written = std::fs::read(&done.written_path).unwrap();
            assert!(holds(&written, &mtxi(b"in moov")) && holds(&written, &mtxi(b"at the top")), "{kind} {splice:?}");
            std::fs::remove_file(&done.written_path).unwrap();
            let _ = std::fs::remove_file(&source);
        }
    }
}
