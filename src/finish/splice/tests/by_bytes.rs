//! Half-done files without a journal.

use super::*;
use crate::durable::InPlaceOp;
use crate::finish::splice::by_bytes::{ByteRecovery, put_back_by_bytes};

#[test]
fn a_whole_insert_without_its_commit_mark_is_taken_back() {
    for (kind, image) in images() {
        for recipe in RECIPES {
            for has_header in [false, true] {
                let path = put(&image, recipe, "cut.mp4");
                let before = std::fs::read(&path).unwrap();
                let inspection = inspect(&path).unwrap();
                let prepared = prepared(&path, &inspection);
                let insert = InPlaceOp::Insert { at: 0, bytes: prepared.intent.inserted_bytes };
                prepared.open.perform(insert).unwrap();
                if has_header {
                    let rest = InPlaceOp::Write { at: 512, bytes: &prepared.header[512..] };
                    prepared.open.perform(rest).unwrap();
                }
                drop(prepared);
                assert_eq!(put_back_by_bytes(&path).unwrap(), ByteRecovery::PutBack, "{kind} {recipe} {has_header}");
                assert!(std::fs::read(&path).unwrap() == before, "{kind} {recipe} {has_header}");
                assert_eq!(put_back_by_bytes(&path).unwrap(), ByteRecovery::NotHalfDone);
            }
        }
    }
}

#[test]
fn a_half_insert_is_taken_back_wherever_it_was_cut() {
    for (kind, image) in images() {
        for recipe in RECIPES {
            let path = image.path().join("pieces.mp4");
            image::copy_in_pieces(&made(recipe), &path, 64 << 10);
            let before = std::fs::read(&path).unwrap();
            let extents = extents_of(&path);
            for [at, ..] in extents {
                let open = InPlaceEditor::open(&path).unwrap();
                open.perform(InPlaceOp::Insert { at, bytes: 16384 }).unwrap();
                drop(open);
                assert_eq!(put_back_by_bytes(&path).unwrap(), ByteRecovery::PutBack, "{kind} {recipe} at {at}");
                assert!(std::fs::read(&path).unwrap() == before, "{kind} {recipe} at {at}");
            }
        }
    }
}

#[test]
fn what_is_not_proven_is_not_touched() {
    for (kind, image) in images() {
        // Finished, header last, and a crashed recording with a hole of its own.
        let path = put(&image, "last", "cut.mp4");
        assert_eq!(put_back_by_bytes(&path).unwrap(), ByteRecovery::NotHalfDone);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 2);
        std::fs::write(&path, &bytes).unwrap();
        let open = InPlaceEditor::open(&path).unwrap();
        open.perform(InPlaceOp::Insert { at: 8192, bytes: 8192 }).unwrap();
        drop(open);
        let before = std::fs::read(&path).unwrap();
        assert_eq!(put_back_by_bytes(&path).unwrap(), ByteRecovery::NotHalfDone, "{kind}");
        assert!(std::fs::read(&path).unwrap() == before);

        // Half done, but somebody reads it.
        let path = put(&image, "last", "cut.mp4");
        InPlaceEditor::open(&path).unwrap().perform(InPlaceOp::Insert { at: 0, bytes: 8192 }).unwrap();
        let _reader = std::fs::File::open(&path).unwrap();
        assert_eq!(put_back_by_bytes(&path).unwrap(), ByteRecovery::Unclear, "{kind}");
    }
}
