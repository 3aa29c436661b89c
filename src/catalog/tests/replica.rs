//! Marks for a replica: every change of a record leaves one, whoever makes it, and none is lost or removed too early.

use super::*;
use crate::catalog::room;

fn marked(home: &TestCatalog) -> Vec<(String, u64, bool)> {
    let marked = home.shared().marked("", 100).unwrap().into_iter();
    marked.map(|mark| (mark.vod_id, mark.revision, mark.record.unwrap().is_some())).collect()
}

#[test]
fn nothing_is_marked_without_a_replica() {
    let home = TestCatalog::new();
    catalogue(&home, "a", 1, 10);
    assert_eq!((marked(&home), home.shared().last_revision().unwrap()), (Vec::new(), 0));
}

#[test]
fn every_change_leaves_a_mark_until_the_replica_was_told_of_it() {
    let mut home = TestCatalog::new();
    let before = catalogue(&home, "before", 1, 10).vod_id;
    home.shared().begin_replica().unwrap();
    assert_eq!(marked(&home), [], "what was there is marked on request alone");
    let revision = home.shared().mark_all().unwrap();
    assert_eq!(marked(&home), [(before.clone(), 1, true)]);
    assert_eq!(revision, 0);
    let vod = catalogue(&home, "a", 2, 20).vod_id;
    let first = marked(&home).into_iter().find(|(id, ..)| *id == vod).unwrap().1;
    home.shared().update_vod(&vod, |vod| vod.bitrate += 1).unwrap();
    let told = [(vod.clone(), first), (before.clone(), 1)];
    home.shared().unmark(&told).unwrap();
    let left = marked(&home);
    assert_eq!(left.len(), 1, "changed again since it was read: {left:?}");
    assert!(left[0].0 == vod && left[0].1 > first);
    // Another process that opens the catalogue marks as well.
    home.restart();
    home.delete_vod(&before, 30).unwrap();
    assert_eq!(home.shared().count_marked().unwrap(), 2);
    assert!(marked(&home).iter().any(|(id, _, exists)| *id == before && !exists), "a deletion is a change");
    home.shared().end_replica().unwrap();
    assert_eq!(marked(&home), []);
    home.shared().update_vod(&vod, |vod| vod.bitrate += 1).unwrap();
    assert_eq!(marked(&home), []);
}

#[test]
fn what_a_replica_was_told_is_durable() {
    let home = TestCatalog::new();
    home.shared().begin_replica().unwrap();
    let vod = catalogue(&home, "a", 1, 10).vod_id;
    let read = marked(&home);
    let left = home.as_left_by_a_kill();
    assert_eq!(marked(&left), read);
    assert!(left.shared().vod(&vod).unwrap().is_some());
}

#[test]
fn a_replica_that_has_begun_begins_again_on_a_full_disk() {
    let home = TestCatalog::new();
    home.shared().begin_replica().unwrap();
    room::leave(Some(0));
    let again = home.shared().begin_replica();
    room::leave(None);
    again.unwrap();
}

#[test]
fn a_stream_that_was_learned_of_is_marked_until_the_replica_was_told_of_it() {
    let home = TestCatalog::new();
    let version = |number: u32| serde_json::json!({ "versions": [number] });
    let marked = || home.shared().marked_streams(10).unwrap();
    home.remember_codec("early", &version(1)).unwrap();
    assert_eq!(marked(), [], "there is no replica");
    home.shared().begin_replica().unwrap();
    home.shared().mark_streams().unwrap();
    home.remember_codec("late", &version(1)).unwrap();
    let told = marked();
    assert_eq!(told, [("early".to_owned(), Some(version(1))), ("late".to_owned(), Some(version(1)))]);
    home.remember_codec("late", &version(2)).unwrap();
    home.shared().unmark_streams(&told).unwrap();
    assert_eq!(marked(), [("late".to_owned(), Some(version(2)))], "it has learned more since");
    home.shared().unmark_streams(&marked()).unwrap();
    home.remember_codec("late", &version(2)).unwrap();
    assert_eq!(marked(), [], "nothing new");
    home.remember_codec("late", &version(3)).unwrap();
    home.shared().end_replica().unwrap();
    home.remember_codec("late", &version(4)).unwrap();
    assert_eq!(marked(), []);
}

#[test]
fn what_appears_and_goes_while_the_replica_is_away_leaves_no_mark() {
    let mut home = TestCatalog::new();
    home.shared().begin_replica().unwrap();
    let brief = catalogue(&home, "brief", 1, 10).vod_id;
    home.shared().update_vod(&brief, |vod| vod.bitrate += 1).unwrap();
    home.restart();
    assert_eq!(home.shared().count_marked().unwrap(), 1);
    home.delete_vod(&brief, 20).unwrap();
    assert_eq!(home.shared().count_marked().unwrap(), 0);
    // It may know what was read for it, whether that arrived or not.
    let read = catalogue(&home, "read", 2, 30).vod_id;
    assert_eq!(marked(&home).len(), 1);
    home.delete_vod(&read, 40).unwrap();
    let left = marked(&home);
    assert!(left.len() == 1 && !left[0].2, "{left:?}");
    // A replica that has more than was noted here may know all.
    let unnoted = catalogue(&home, "unnoted", 3, 60).vod_id;
    home.shared().count_all_as_told().unwrap();
    home.delete_vod(&unnoted, 70).unwrap();
    assert!(marked(&home).iter().any(|(id, _, exists)| *id == unnoted && !exists));
}
