//! Every operation of the protocol is once the last one; every way the disk may have kept or lost what was not synced;
//! every place at which the kernel may have been cut inside the insert.

use std::path::Path;

use super::*;
use crate::durable::tape::{self, RecordedOp};
use crate::finish::splice::recover::{SpliceRecovery, recover};
use crate::recording::SpliceIntent;

/// What a file was, and what it becomes when nothing is cut.
struct ExpectedBytes {
    before: Vec<u8>,
    after: Vec<u8>,
}

fn run_to_the_end(path: &Path) -> (SpliceIntent, Vec<RecordedOp>) {
    let inspection = inspect(path).unwrap();
    let prepared = prepared(path, &inspection);
    tape::begin(None);
    assert_eq!(prepared.perform().unwrap(), crate::finish::splice::InPlaceOutcome::Done);
    (prepared.intent, tape::end())
}

/// Start-up after a cut: the file is what it was, or what it was to become; and so it stays the next time.
#[track_caller]
fn assert_recovers(intent: &SpliceIntent, expected: &ExpectedBytes, when: &str) {
    let recovered = recover(intent).unwrap();
    let now = std::fs::read(&intent.path).unwrap();
    match recovered {
        SpliceRecovery::AsBefore => assert!(now == expected.before, "{when}: not what it was"),
        SpliceRecovery::Finished => assert!(now == expected.after, "{when}: not what it was to become"),
        other => panic!("{when}: {other:?}"),
    }
    let wanted = if recovered == SpliceRecovery::Finished { intent.after } else { intent.before };
    assert_eq!(durable::fingerprint(&intent.path).unwrap(), wanted, "{when}");
    assert_eq!(recover(intent).unwrap(), recovered, "{when}, once more");
}

fn expected(image: &Image, recipe: &str) -> (ExpectedBytes, Vec<RecordedOp>) {
    let path = put(image, recipe, "calm.mp4");
    let before = std::fs::read(&path).unwrap();
    let (_, operations) = run_to_the_end(&path);
    (ExpectedBytes { before, after: std::fs::read(&path).unwrap() }, operations)
}

/// The intent for a fresh copy, and the copy untouched.
fn fresh_intent(image: &Image, recipe: &str) -> SpliceIntent {
    let path = put(image, recipe, "cut.mp4");
    let inspection = inspect(&path).unwrap();
    prepared(&path, &inspection).intent
}

#[test]
fn any_operation_may_be_the_last_also_of_the_recovery() {
    for (kind, image) in images() {
        for recipe in RECIPES {
            let (expected, operations) = expected(&image, recipe);
            assert!(operations.len() >= 6, "{operations:?}");
            for n in 0..=operations.len() {
                let path = put(&image, recipe, "cut.mp4");
                let inspection = inspect(&path).unwrap();
                let prepared = prepared(&path, &inspection);
                tape::begin(Some(n));
                let cut = prepared.perform();
                tape::begin(None);
                assert_eq!(cut.is_ok(), n == operations.len(), "{kind} {recipe} {n}: {cut:?}");
                for again in 0..4 {
                    tape::begin(Some(again));
                    let _ = recover(&prepared.intent);
                }
                tape::begin(None);
                assert_recovers(&prepared.intent, &expected, &format!("{kind} {recipe} after {n}"));
            }
        }
    }
}

/// Performs operations on a file, without what is to be lost.
fn replay(path: &Path, operations: &[RecordedOp]) {
    let open = InPlaceEditor::open(path).unwrap();
    for operation in operations {
        open.perform(operation.operation()).unwrap();
    }
}

/// What a power cut after the first `n` operations may leave: everything, nothing since the last sync, or the last
/// write torn at a sector. The order among operations that were not synced is the kernel's: each prefix stands for it.
fn remains(operations: &[RecordedOp], n: usize) -> Vec<Vec<RecordedOp>> {
    let done = &operations[..n];
    let synced = done.iter().rposition(|o| *o == RecordedOp::Sync).map_or(0, |at| at + 1);
    let mut remains: Vec<Vec<RecordedOp>> = (synced..=n).map(|kept| done[..kept].to_vec()).collect();
    // A later operation that came to the disk before an earlier one.
    remains.extend((synced..n).map(|lost| [&done[..lost], &done[lost + 1..]].concat()));
    for at in synced..n {
        let RecordedOp::Write(offset, bytes) = &done[at] else { continue };
        for torn in (512..bytes.len()).step_by(512) {
            let head = RecordedOp::Write(*offset, bytes[..torn].to_vec());
            let tail = RecordedOp::Write(offset + torn as u64, bytes[torn..].to_vec());
            remains.push([&done[..at], &[head]].concat());
            remains.push([&done[..at], &[tail]].concat());
        }
    }
    remains
}

/// Whether the kernel could leave it so: it does not write into blocks that were never inserted.
fn is_possible(remains: &[RecordedOp]) -> bool {
    remains.is_empty() || matches!(remains[0], RecordedOp::Insert(..))
}

#[test]
fn whatever_a_power_cut_kept_or_lost_is_told_and_mended() {
    for (kind, image) in images() {
        for recipe in RECIPES {
            let (expected, operations) = expected(&image, recipe);
            for n in 0..=operations.len() {
                for (case, left) in remains(&operations, n).iter().enumerate().filter(|(_, r)| is_possible(r)) {
                    let intent = fresh_intent(&image, recipe);
                    replay(&intent.path, left);
                    assert_recovers(&intent, &expected, &format!("{kind} {recipe} power cut after {n}, case {case}"));
                }
            }
        }
    }
}

/// Why the header's rest is synced before its first sector is written: were it not, a cut could leave the commit mark
/// without the header behind it. Such a file must not count as committed.
#[test]
fn a_commit_mark_without_its_header_counts_for_nothing() {
    for (_, image) in images() {
        let (expected, operations) = expected(&image, "last");
        let is_mark = |o: &&RecordedOp| matches!(o, RecordedOp::Write(0, _));
        let mark = operations.iter().find(is_mark).unwrap().clone();
        let intent = fresh_intent(&image, "last");
        replay(&intent.path, &[operations[0].clone(), mark]);
        assert_recovers(&intent, &expected, "mark alone");
        assert_eq!(std::fs::read(&intent.path).unwrap(), expected.before);
    }
}

/// The one rule: nothing outside the inserted blocks is written before the header's sync.
#[test]
fn no_byte_outside_the_inserted_blocks_is_written_before_the_header_is_durable() {
    for (_, image) in images() {
        for recipe in RECIPES {
            let (_, operations) = expected(&image, recipe);
            let RecordedOp::Insert(0, inserted) = operations[0] else { panic!("{operations:?}") };
            let mark = operations.iter().position(|o| matches!(o, RecordedOp::Write(0, _))).unwrap();
            assert_eq!(operations[mark - 1], RecordedOp::Sync, "the header is durable before its mark");
            let is_outside =
                |o: &RecordedOp| matches!(o, RecordedOp::Write(at, _) | RecordedOp::Truncate(at) if *at >= inserted);
            let retired = operations[mark + 1..].iter().any(is_outside);
            assert_eq!(retired, recipe != "fragmented", "a fragmented file's headers stay inside the new mdat");
            if retired {
                assert_eq!(
                    operations[mark + 1],
                    RecordedOp::Sync,
                    "the mark is durable before anything else is touched"
                );
            }
            for operation in &operations[1..=mark] {
                let RecordedOp::Write(at, bytes) = operation else { continue };
                assert!(at + bytes.len() as u64 <= inserted, "{operation:?}");
            }
            assert_eq!(operations.last(), Some(&RecordedOp::Sync));
        }
    }
}

#[test]
fn an_insert_that_was_cut_at_any_extent_is_taken_back() {
    for (kind, image) in images() {
        for recipe in RECIPES {
            let path = image.path().join("pieces.mp4");
            image::copy_in_pieces(&made(recipe), &path, 64 << 10);
            settle(&path);
            let extents = extents_of(&path);
            assert!(extents.len() > 8, "{kind}: only {} extents", extents.len());
            let before = std::fs::read(&path).unwrap();
            let inspection = inspect(&path).unwrap();
            let intent = prepared(&path, &inspection).intent;
            let expected = ExpectedBytes { before: before.clone(), after: Vec::new() };
            for [at, ..] in &extents {
                replay(&path, &[RecordedOp::Insert(*at, intent.inserted_bytes)]);
                assert_recovers(&intent, &expected, &format!("{kind} {recipe} cut at {at}"));
            }
            // Longer already, and no extent moved yet.
            replay(&path, &[RecordedOp::Truncate(intent.before.size_bytes + intent.inserted_bytes)]);
            assert_recovers(&intent, &expected, &format!("{kind} {recipe} only longer"));
            // As XFS was seen to leave it: its last block is full, and the new length is not there yet.
            replay(&path, &[RecordedOp::Truncate(intent.before.size_bytes.next_multiple_of(4096))]);
            assert_recovers(&intent, &expected, &format!("{kind} {recipe} longer by the rest of a block"));
        }
    }
}

/// What a power failure has cut, the next start finds on a file system that was mounted anew, and may have another number.
#[test]
fn a_device_that_has_another_number_after_the_cut_changes_nothing() {
    for (kind, image) in images() {
        let (expected, operations) = expected(&image, "last");
        for n in 0..=operations.len() {
            let path = put(&image, "last", "cut.mp4");
            let inspection = inspect(&path).unwrap();
            let prepared = prepared(&path, &inspection);
            tape::begin(Some(n));
            let _ = prepared.perform();
            tape::begin(None);
            let mut intent = prepared.intent.clone();
            intent.before.device += 1;
            intent.after.device += 1;
            assert_recovers(&intent, &expected, &format!("{kind} after {n}"));
        }
    }
}

#[test]
fn what_is_not_the_file_of_the_intent_is_left_alone() {
    for (_, image) in images() {
        let intent = fresh_intent(&image, "last");
        let other = put(&image, "last", "other.mp4");
        std::fs::remove_file(&intent.path).unwrap();
        assert_eq!(recover(&intent).unwrap(), SpliceRecovery::Gone);
        std::fs::rename(&other, &intent.path).unwrap();
        assert_eq!(recover(&intent).unwrap(), SpliceRecovery::Gone);

        let intent = fresh_intent(&image, "last");
        let mut grown = std::fs::read(&intent.path).unwrap();
        grown.extend([7; 100]);
        {
            use std::io::Write;
            std::fs::File::options().append(true).open(&intent.path).unwrap().write_all(&[7; 100]).unwrap();
        }
        assert!(matches!(recover(&intent).unwrap(), SpliceRecovery::Unclear(_)));
        assert_eq!(std::fs::read(&intent.path).unwrap(), grown, "nothing was changed");
    }
}
