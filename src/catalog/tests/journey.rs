//! The journal: promises 4 and 6, names, and what is never taken again.

use std::collections::HashSet;

use super::*;
use crate::fault::Class;

fn failed(due_ms: Option<i64>) -> Step {
    Step::Failed { class: Class::Transient, message: "busy".into(), due_ms }
}

fn publishing(vod: &VodRecord) -> Step {
    Step::Publishing {
        written_path: "/srv/.aftercast-x.partial".into(),
        written: vod.fingerprint,
        record: Box::new(vod.clone()),
        removes_source: true,
    }
}

fn splicing(vod: &VodRecord) -> Step {
    let intent = SpliceIntent {
        path: vod.source_path.clone(),
        before: vod.source,
        after: vod.fingerprint,
        inserted_bytes: 4096,
        extents: Vec::new(),
        header_digest: String::new(),
        payload_digest: String::new(),
        retirement: Retirement::Nothing,
    };
    Step::Splicing { intent: Box::new(intent), record: Box::new(vod.clone()) }
}

#[test]
fn an_attempt_is_on_the_disk_before_the_work_begins() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 5);
    let entry = home.as_left_by_a_kill().entry(&key).unwrap().unwrap();
    assert_eq!((entry.step, entry.attempts, entry.changed_ms), (Step::Begun, 1, 5));
}

#[test]
fn every_step_survives_a_kill_right_after_it() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    let vod = record("room1", 1, 2);
    home.advance(&key, Stage::Begun, publishing(&vod), 2).unwrap();
    assert_eq!(home.as_left_by_a_kill().entry(&key).unwrap().unwrap().step, publishing(&vod));

    home.commit_vod(&key, &vod, &[delivery(&vod, "primary", 3)], true, 3).unwrap();
    let left = home.as_left_by_a_kill();
    let catalogued = Step::Catalogued { vod_id: vod.vod_id.clone(), removes_source: true };
    assert_eq!(left.entry(&key).unwrap().unwrap().step, catalogued);
    assert_eq!(left.shared().vod(&vod.vod_id).unwrap(), Some(vod.clone()));
    assert_eq!(left.due(3, 9).unwrap().len(), 1);
    assert_eq!(left.open_entries().unwrap().items.len(), 1);

    home.advance(&key, Stage::Catalogued, Step::Done { vod_id: vod.vod_id.clone() }, 4).unwrap();
    // Nothing follows from the very end: without a flush of its own, the next start may look for the source once more.
    let left = home.as_left_by_a_kill();
    let step = left.entry(&key).unwrap().unwrap().step;
    assert!(step == catalogued || matches!(step, Step::Done { .. }), "{step:?}");
    assert!(left.check(false).unwrap().is_sound());
}

/// Our own rename is an event like any other: between it and the record the finished file must not be taken for a recording.
#[test]
fn a_finished_file_is_no_recording_while_its_record_is_on_the_way() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    let vod = record("room1", 1, 2);
    assert!(home.reserve_name(&vod.file_path, &key).unwrap());
    let at_its_name = |fingerprint| {
        let found = Candidate { path: vod.file_path.clone(), fingerprint, ..candidate("room1", 1) };
        home.begin(&Settled::for_test(found), 3).unwrap()
    };
    home.advance(&key, Stage::Begun, publishing(&vod), 2).unwrap();
    assert_eq!(at_its_name(vod.fingerprint), BeginOutcome::Known(KnownFile::UnderWay));
    home.commit_vod(&key, &vod, &[], false, 3).unwrap();
    assert_eq!(at_its_name(vod.fingerprint), BeginOutcome::Known(KnownFile::Finished { vod_id: vod.vod_id.clone() }));
    // Somebody else's file under that name is a recording.
    assert!(matches!(at_its_name(fingerprint(77)), BeginOutcome::Attempt { .. }));
}

#[test]
fn a_file_that_kills_the_process_twice_is_not_tried_a_third_time() {
    let mut home = TestCatalog::new();
    let file = settled("room1", 1);
    assert!(matches!(home.begin(&file, 1).unwrap(), BeginOutcome::Attempt { attempt: 1, is_suspect: false, .. }));
    home.restart();
    assert!(matches!(home.begin(&file, 2).unwrap(), BeginOutcome::Attempt { attempt: 2, is_suspect: true, .. }));
    home.restart();
    let BeginOutcome::KillsTheProcess { key, attempts: 2, .. } = home.begin(&file, 3).unwrap() else { panic!() };
    assert!(matches!(home.begin(&file, 3).unwrap(), BeginOutcome::KillsTheProcess { .. }));

    let defects = vec![Defect::KillsTheProcess { attempts: 2 }];
    home.advance(&key, Stage::Begun, Step::Quarantined { defects }, 4).unwrap();
    home.restart();
    assert_eq!(home.begin(&file, 5).unwrap(), BeginOutcome::Known(KnownFile::Quarantined));
}

#[test]
fn orderly_failures_and_restarts_without_an_attempt_are_no_deaths() {
    let mut home = TestCatalog::new();
    let file = settled("room1", 1);
    for now_ms in 0..5 {
        let key = attempt(&home, &file, now_ms);
        home.advance(&key, Stage::Begun, failed(Some(now_ms)), now_ms).unwrap();
        home.restart();
    }
    let key = attempt(&home, &file, 9);
    home.restart();
    home.restart();
    home.restart();
    let BeginOutcome::Attempt { attempt: 7, is_suspect: true, .. } = home.begin(&file, 10).unwrap() else { panic!() };
    assert_eq!(home.entry(&key).unwrap().unwrap().attempts, 7);
}

#[test]
fn a_file_that_the_process_died_of_stays_a_suspect_whatever_ends_its_next_attempt() {
    let mut home = TestCatalog::new();
    let file = settled("room1", 1);
    let key = attempt(&home, &file, 1);
    home.restart();
    attempt(&home, &file, 2);
    home.cancel(&key, 3).unwrap();
    home.restart();
    assert!(home.is_suspect(file.path(), &file.candidate().fingerprint).unwrap(), "told to stop");
    assert!(home.knows(file.path(), &file.candidate().fingerprint).unwrap().may_be_taken(3));
    attempt(&home, &file, 4);
    home.advance(&key, Stage::Begun, failed(Some(5)), 5).unwrap();
    home.restart();
    assert!(home.is_suspect(file.path(), &file.candidate().fingerprint).unwrap(), "failed");
    assert!(home.open_entries().unwrap().items.is_empty());
    attempt(&home, &file, 6);
    home.restart();
    assert!(matches!(home.begin(&file, 7).unwrap(), BeginOutcome::KillsTheProcess { attempts: 2, .. }));
}

#[test]
fn an_attempt_told_to_stop_leaves_nothing_where_the_process_never_died() {
    let home = TestCatalog::new();
    let file = settled("room1", 1);
    let key = attempt(&home, &file, 1);
    assert!(home.reserve_name(Path::new("/srv/room1.mp4"), &key).unwrap());
    home.cancel(&key, 2).unwrap();
    assert_eq!(home.knows(file.path(), &file.candidate().fingerprint).unwrap(), KnownFile::Unknown);
    assert!(!home.is_name_taken(Path::new("/srv/room1.mp4")).unwrap());
}

#[test]
fn no_step_leads_back_from_a_record() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    let vod = record("room1", 1, 2);
    home.advance(&key, Stage::Begun, publishing(&vod), 2).unwrap();
    home.commit_vod(&key, &vod, &[], true, 3).unwrap();
    for step in [failed(Some(4)), Step::Begun, publishing(&vod), Step::Quarantined { defects: vec![] }] {
        let refused = home.advance(&key, Stage::Catalogued, step, 4);
        assert!(matches!(refused, Err(CatalogError::NoWay { .. })), "{refused:?}");
    }
    assert!(matches!(home.forget(&key), Err(CatalogError::NoWay { to: None, .. })), "nor is it forgotten");
    assert!(matches!(home.cancel(&key, 4), Err(CatalogError::NoWay { .. })), "nor cancelled");
    home.advance(&key, Stage::Catalogued, Step::Done { vod_id: vod.vod_id.clone() }, 5).unwrap();
    assert!(home.advance(&key, Stage::Done, failed(None), 6).is_err());
    assert_eq!(home.entry(&key).unwrap().unwrap().step, Step::Done { vod_id: vod.vod_id });
}

/// An error while the finished file is given its name, or the source is spliced, ends no attempt by itself.
#[test]
fn what_is_half_done_neither_fails_nor_is_forgotten_before_it_is_taken_back() {
    let home = TestCatalog::new();
    let vod = record("room1", 1, 2);
    for half_done in [publishing(&vod), splicing(&vod)] {
        let key = attempt(&home, &settled("room1", 1), 1);
        let stage = half_done.stage();
        home.advance(&key, Stage::Begun, half_done.clone(), 2).unwrap();
        assert!(matches!(home.advance(&key, stage, failed(None), 3), Err(CatalogError::NoWay { .. })));
        assert!(matches!(home.forget(&key), Err(CatalogError::NoWay { .. })));
        assert!(matches!(home.cancel(&key, 3), Err(CatalogError::NoWay { .. })));
        assert_eq!(home.entry(&key).unwrap().unwrap().step, half_done, "and nothing is changed");
        home.advance(&key, stage, Step::Begun, 4).unwrap();
        home.advance(&key, Stage::Begun, failed(Some(5)), 5).unwrap();
    }
}

/// Who believes a recording to be elsewhere changes nothing: what another has done meanwhile stands.
#[test]
fn a_step_from_where_the_recording_is_not_is_refused() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    let vod = record("room1", 1, 2);
    for believed in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Begun) {
        let refused = home.advance(&key, believed, publishing(&vod), 2);
        let Err(CatalogError::AtAnotherStage { expected, found, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((expected, found), (believed, Stage::Begun));
    }
    home.advance(&key, Stage::Begun, publishing(&vod), 2).unwrap();
    let late = home.advance(&key, Stage::Begun, failed(None), 3);
    assert!(matches!(late, Err(CatalogError::AtAnotherStage { found: Stage::Publishing, .. })), "{late:?}");
    assert_eq!(home.entry(&key).unwrap().unwrap().step, publishing(&vod));
}

#[test]
fn a_record_is_made_only_of_what_is_under_way() {
    let home = TestCatalog::new();
    let vod = record("room1", 1, 2);
    let key = attempt(&home, &settled("room1", 1), 1);
    home.advance(&key, Stage::Begun, failed(None), 2).unwrap();
    let refused = home.commit_vod(&key, &vod, &[], false, 3);
    assert!(matches!(refused, Err(CatalogError::NoWay { .. })), "{refused:?}");
    assert_eq!(home.shared().count().unwrap(), 0);
}

#[test]
fn what_was_put_off_says_why_after_a_restart_and_is_no_death() {
    let mut home = TestCatalog::new();
    let file = settled("room1", 1);
    let key = attempt(&home, &file, 1);
    let why = Postponed { class: Class::Environment, message: "sticky".into(), tries: 3, due_ms: 9 };
    home.postpone(&key, &why).unwrap();
    home.restart();
    assert_eq!(home.entry(&key).unwrap().unwrap().postponed, Some(why));
    assert!(!home.is_suspect(file.path(), &file.candidate().fingerprint).unwrap());
    let vod = record("room1", 1, 2);
    home.advance(&key, Stage::Begun, publishing(&vod), 2).unwrap();
    assert_eq!(home.entry(&key).unwrap().unwrap().postponed, None, "the next step is not put off");
}

#[test]
fn an_impatient_operator_is_not_held_against_the_file() {
    let mut home = TestCatalog::new();
    let (file, further) = (settled("room1", 1), settled("room2", 2));
    let key = attempt(&home, &further, 1);
    home.advance(&key, Stage::Begun, publishing(&record("room2", 2, 1)), 1).unwrap();
    for now_ms in 0..4 {
        attempt(&home, &file, now_ms);
        assert_eq!(home.interrupt_attempts(now_ms).unwrap(), 1);
        home.restart();
        assert!(home.knows(file.path(), &file.candidate().fingerprint).unwrap().may_be_taken(now_ms));
    }
    assert!(matches!(home.begin(&file, 9).unwrap(), BeginOutcome::Attempt { attempt: 5, is_suspect: false, .. }));
    assert!(matches!(home.begin(&further, 9).unwrap(), BeginOutcome::Interrupted { .. }));
}

#[test]
fn a_splice_that_an_impatient_operator_cut_is_not_held_against_the_file() {
    let mut home = TestCatalog::new();
    let file = settled("room1", 1);
    let key = attempt(&home, &file, 1);
    home.advance(&key, Stage::Begun, splicing(&record("room1", 1, 2)), 2).unwrap();
    assert_eq!(home.interrupt_attempts(3).unwrap(), 1);
    home.restart();
    assert!(!home.is_suspect(file.path(), &file.candidate().fingerprint).unwrap());
    assert!(matches!(home.begin(&file, 4).unwrap(), BeginOutcome::Interrupted { .. }), "and what it left is mended");
}

#[test]
fn a_recording_that_came_further_is_continued_and_not_begun_again() {
    let mut home = TestCatalog::new();
    let file = settled("room1", 1);
    let key = attempt(&home, &file, 1);
    let vod = record("room1", 1, 2);
    home.advance(&key, Stage::Begun, publishing(&vod), 2).unwrap();
    home.restart();
    let BeginOutcome::Interrupted { key: same, entry } = home.begin(&file, 3).unwrap() else { panic!() };
    assert_eq!((same, entry.step), (key, publishing(&vod)));
    assert_eq!(home.knows(file.path(), &file.candidate().fingerprint).unwrap(), KnownFile::UnderWay);
}

#[test]
fn what_is_known_is_never_taken_again_and_what_was_written_again_is() {
    let home = TestCatalog::new();
    let file = settled("room1", 1);
    let source = |catalog: &Catalog| catalog.knows(file.path(), &file.candidate().fingerprint).unwrap();
    assert!(source(&home).may_be_taken(0));

    let key = attempt(&home, &file, 1);
    assert_eq!(source(&home), KnownFile::UnderWay);
    assert!(!source(&home).may_be_taken(i64::MAX));

    home.advance(&key, Stage::Begun, failed(Some(50)), 2).unwrap();
    assert!(!source(&home).may_be_taken(49) && source(&home).may_be_taken(50));
    attempt(&home, &file, 2);
    home.advance(&key, Stage::Begun, failed(None), 2).unwrap();
    assert!(!source(&home).may_be_taken(i64::MAX));

    attempt(&home, &file, 3);
    let original = PathBuf::from("/srv/room1.flv");
    let vod = VodRecord { original_path: Some(original.clone()), ..record("room1", 1, 3) };
    home.commit_vod(&key, &vod, &[], false, 3).unwrap();
    let vod_id = vod.vod_id.clone();
    assert_eq!(source(&home), KnownFile::Source { vod_id: vod_id.clone() });
    assert_eq!(home.knows(&original, &vod.source).unwrap(), KnownFile::Original { vod_id: vod_id.clone() });
    assert_eq!(home.knows(&vod.file_path, &vod.fingerprint).unwrap(), KnownFile::Finished { vod_id: vod_id.clone() });
    let finished = Settled::for_test(Candidate {
        path: vod.file_path.clone(),
        fingerprint: vod.fingerprint,
        ..file.candidate().clone()
    });
    assert_eq!(home.begin(&finished, 4).unwrap(), BeginOutcome::Known(KnownFile::Finished { vod_id }));

    let appended = Fingerprint { size_bytes: 9_999, ..vod.source };
    assert_eq!(home.knows(file.path(), &appended).unwrap(), KnownFile::Unknown);
    let remounted = Fingerprint { device: 77, ..vod.fingerprint };
    assert_ne!(home.knows(&vod.file_path, &remounted).unwrap(), KnownFile::Unknown);
}

#[test]
fn what_was_left_out_is_remembered_until_a_person_asks() {
    let mut home = TestCatalog::new();
    let old = (0..1_200).map(|n| candidate("old", n)).collect::<Vec<_>>();
    attempt(&home, &settled("old", 0), 1);
    assert_eq!(home.leave_out(&old, 2).unwrap(), 1_199);
    assert_eq!(home.leave_out(&old, 3).unwrap(), 0);
    home.restart();
    assert_eq!(home.knows(&old[7].path, &old[7].fingerprint).unwrap(), KnownFile::LeftOut);
    assert_eq!(home.begin(&settled("old", 7), 4).unwrap(), BeginOutcome::Known(KnownFile::LeftOut));
    home.forget(&JournalKey::of(&old[7].path, &old[7].fingerprint)).unwrap();
    attempt(&home, &settled("old", 7), 5);
    assert_eq!(home.entries(None, usize::MAX).unwrap().items.len(), 1_200);
}

#[test]
fn a_step_of_an_unknown_recording_is_refused() {
    let home = TestCatalog::new();
    let key = JournalKey::of(Path::new("/x"), &fingerprint(1));
    assert!(matches!(home.advance(&key, Stage::Begun, Step::LeftOut, 1), Err(CatalogError::NotJournalled { .. })));
    let vod = record("room1", 1, 1);
    assert!(matches!(home.commit_vod(&key, &vod, &[], false, 1), Err(CatalogError::NotJournalled { .. })));
    assert_eq!((home.shared().vod(&vod.vod_id).unwrap(), home.shared().count().unwrap()), (None, 0));
}

#[test]
fn a_commit_repeated_after_a_crash_changes_nothing_a_user_could_see() {
    let mut home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    let vod = record("room1", 1, 2);
    home.advance(&key, Stage::Begun, publishing(&vod), 2).unwrap();
    let queued = [delivery(&vod, "primary", 2), delivery(&vod, "archive", 2)];
    let first = home.commit_vod(&key, &vod, &queued, true, 2).unwrap();
    assert!(first.is_new && first.queued == 2);
    home.begin_delivery(&queued[0].id, 0).unwrap();
    home.delivered(&queued[0].id, &[object(&vod, "primary")], 3).unwrap();
    let (events, stands) =
        (home.shared().events(0, 99).unwrap().events, home.shared().vod(&vod.vod_id).unwrap().unwrap());

    home.restart();
    let again = VodRecord { creation_date: 77, ..vod.clone() };
    let second = home.commit_vod(&key, &again, &queued, true, 77).unwrap();
    assert!(!second.is_new && second.queued == 0);
    assert_eq!(second.record, stands);
    assert_eq!(home.shared().count().unwrap(), 1);
    assert_eq!(home.pending_for(&vod.vod_id).unwrap().len(), 1);
    assert_eq!(home.shared().events(0, 99).unwrap().events, events);
    assert!(home.check(false).unwrap().is_sound());

    home.advance(&key, Stage::Catalogued, Step::Done { vod_id: vod.vod_id.clone() }, 78).unwrap();
    home.commit_vod(&key, &vod, &queued, true, 79).unwrap();
    assert_eq!(home.entry(&key).unwrap().unwrap().step.name(), "finished");
}

#[test]
fn a_copy_of_a_finished_file_elsewhere_is_no_second_vod_and_is_not_taken_again() {
    let home = TestCatalog::new();
    let first = catalogue(&home, "room1", 1, 1);
    let key = attempt(&home, &settled("copy", 2), 2);
    let copy = VodRecord { file_path: "/srv/copy/room1.mp4".into(), fingerprint: fingerprint(9), ..first.clone() };
    let committed = home.commit_vod(&key, &copy, &[], false, 2).unwrap();
    assert_eq!((committed.record, committed.is_new), (first.clone(), false));
    let known = home.knows(&copy.file_path, &copy.fingerprint).unwrap();
    assert_eq!(known, KnownFile::Finished { vod_id: first.vod_id });
    assert!(home.check(false).unwrap().is_sound());
}

#[test]
fn entries_that_are_done_are_found_a_few_at_a_time_and_dropped_alone() {
    let home = TestCatalog::new();
    let vods: Vec<_> = (0..30).map(|n| catalogue(&home, &format!("room{n}"), n, 1)).collect();
    let open = attempt(&home, &settled("open", 99), 1);
    let mut found = HashSet::new();
    for start in 0..=255_u8 {
        let from = format!("{start:02x}{}", "0".repeat(30)).parse().unwrap();
        let some = home.done_entries(&from, 5).unwrap();
        assert!(some.len() <= 5);
        found.extend(some.into_iter().map(|(key, _)| key));
    }
    assert_eq!(found.len(), vods.len());
    let keys: Vec<_> = found.into_iter().chain([open]).collect();
    home.drop_done(&keys).unwrap();
    assert_eq!(home.entries(None, usize::MAX).unwrap().items.len(), 1, "what is not done stays");
    for vod in vods {
        assert_eq!(home.knows(&vod.source_path, &vod.source).unwrap(), KnownFile::Unknown);
        let finished = home.knows(&vod.file_path, &vod.fingerprint).unwrap();
        assert_eq!(finished, KnownFile::Finished { vod_id: vod.vod_id });
    }
    assert!(home.check(false).unwrap().is_sound());
}

#[test]
fn two_recordings_never_get_the_same_name_and_a_redo_gets_its_own() {
    let mut home = TestCatalog::new();
    let (one, two) = (attempt(&home, &settled("room1", 1), 1), attempt(&home, &settled("room1", 2), 1));
    let (name, other) = (Path::new("/srv/room1.mp4"), Path::new("/srv/room1_1.mp4"));
    assert!(!home.is_name_taken(name).unwrap());
    assert!(home.reserve_name(name, &one).unwrap() && home.reserve_name(name, &one).unwrap());
    assert!(!home.reserve_name(name, &two).unwrap());
    assert!(home.reserve_name(other, &two).unwrap());
    home.advance(&one, Stage::Begun, failed(Some(2)), 2).unwrap();
    home.restart();
    assert_eq!(home.reserved_by(&one).unwrap().as_deref(), Some(name));
    assert!(home.is_name_taken(name).unwrap() && home.is_name_taken(other).unwrap());

    home.advance(&two, Stage::Begun, Step::Quarantined { defects: vec![] }, 3).unwrap();
    assert!(!home.is_name_taken(other).unwrap());
    assert_eq!(home.reserved_by(&two).unwrap(), None);

    let vod = record("room1", 1, 4);
    assert_eq!(attempt(&home, &settled("room1", 1), 4), one);
    home.commit_vod(&one, &vod, &[], false, 4).unwrap();
    home.shared().freed(&vod.vod_id, 5).unwrap();
    assert_eq!(home.reserved_by(&one).unwrap(), None);
    assert!(home.is_name_taken(name).unwrap(), "the name of a freed VoD stays taken");
    let three = attempt(&home, &settled("room1", 3), 6);
    assert!(!home.reserve_name(name, &three).unwrap());
    let itself = JournalKey::of(&vod.file_path, &vod.fingerprint);
    assert!(home.reserve_name(name, &itself).unwrap(), "its own finished file keeps its name");
}

#[test]
fn a_finished_file_that_comes_back_with_another_inode_keeps_its_name() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    let vod = record("room1", 1, 4);
    home.commit_vod(&key, &vod, &[], false, 4).unwrap();

    let mut restored = Candidate { path: vod.file_path.clone(), ..candidate("room1", 1) };
    restored.fingerprint = Fingerprint { device: 77, inode: 99, ..vod.fingerprint };
    let again = attempt(&home, &Settled::for_test(restored.clone()), 5);
    assert!(home.reserve_name(&vod.file_path, &again).unwrap());
    assert!(home.is_file_of_vod(&vod.file_path, &restored.fingerprint).unwrap());

    restored.fingerprint.mtime_ns += 1;
    let another = attempt(&home, &Settled::for_test(restored), 6);
    assert!(!home.reserve_name(&vod.file_path, &another).unwrap(), "another recording under the old name");
}

#[test]
fn another_name_gives_the_first_one_back() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    assert!(home.reserve_name(Path::new("/a"), &key).unwrap());
    assert!(home.reserve_name(Path::new("/b"), &key).unwrap());
    assert!(!home.is_name_taken(Path::new("/a")).unwrap());
    assert_eq!(home.reserved_by(&key).unwrap(), Some("/b".into()));
}

#[test]
fn names_are_chosen_by_threads_without_a_collision() {
    let home = TestCatalog::new();
    let taken = std::thread::scope(|scope| {
        let threads = (0..4_u64).map(|thread| {
            let catalog = home.catalog.clone().unwrap();
            scope.spawn(move || {
                let choose = |n: u64| {
                    let key = JournalKey::of(Path::new("/src"), &fingerprint(thread * 1_000 + n));
                    let names = (0..1_000).map(|n| PathBuf::from(format!("/srv/x_{n}.mp4")));
                    names.into_iter().find(|name| catalog.reserve_name(name, &key).unwrap()).unwrap()
                };
                (0..20).map(choose).collect::<Vec<_>>()
            })
        });
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<HashSet<_>>()
    });
    assert_eq!(taken.len(), 80);
}

#[test]
fn an_entry_keeps_its_form() {
    let home = TestCatalog::new();
    let file = settled("room1", 1);
    let key = attempt(&home, &file, 1);
    let stored = home.store().get(tree::TreeId::Journal, key.to_string()).unwrap().unwrap();
    let entry: JournalEntry = serde_json::from_slice(&packing::unpack(&stored)).unwrap();
    assert_eq!((entry.version, entry.settled), (1, file.clone()));
    assert_eq!(home.entry_for(file.path(), &file.candidate().fingerprint).unwrap().unwrap().attempts, 1);
}
