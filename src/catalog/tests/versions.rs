//! Rows that a newer version of the program wrote: refused, and never written again with less in them.

use serde_json::Value;

use super::*;
use crate::catalog::tree::TreeId;
use crate::fault::Class;

/// Makes a row one of the next version, with a field that this one does not know; returns it as it is stored.
fn raised(home: &Catalog, tree: TreeId, key: &str) -> Vec<u8> {
    let stored = home.store().get(tree, key).unwrap().unwrap();
    let mut row: Value = serde_json::from_slice(&packing::unpack(&stored)).unwrap();
    row["version"] = (row["version"].as_u64().unwrap_or(1) + 1).into();
    row["unheardOf"] = "precious".into();
    let raised = packing::pack(serde_json::to_vec(&row).unwrap());
    tamper(home, tree, key, &raised);
    raised
}

fn is_refused<T>(result: &Result<T>) -> bool {
    matches!(result, Err(CatalogError::NewerRow { found, known, .. }) if *found == known + 1)
}

fn stands(home: &Catalog, tree: TreeId, key: &str) -> Vec<u8> {
    home.store().get(tree, key).unwrap().unwrap().to_vec()
}

#[test]
fn a_newer_record_is_never_written_again() {
    let mut home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 1);
    catalogue(&home, "room2", 2, 2);
    let copy = object(&vod, "primary");
    let delivery_id = Delivery::id_of(&vod.vod_id, "primary");
    let row = raised(&home, TreeId::Vods, &vod.vod_id);

    assert!(is_refused(&home.shared().vod(&vod.vod_id)));
    assert!(is_refused(&home.shared().update_vod(&vod.vod_id, |vod| vod.bitrate = 0)));
    assert!(is_refused(&home.shared().freed(&vod.vod_id, 3)));
    assert!(is_refused(&home.shared().verified(&vod.vod_id, &copy, Some(("gone", false)), 3)));
    assert!(is_refused(&home.delete_vod(&vod.vod_id, 3)));
    home.begin_delivery(&delivery_id, 3).unwrap();
    assert!(is_refused(&home.delivered(&delivery_id, &[copy], 3)));
    let again = attempt(&home, &settled("again", 9), 3);
    assert!(is_refused(&home.commit_vod(&again, &vod, &[], false, 3)));
    assert_eq!(home.merge_rebuilt(&[record("room1", 1, 9), record("room3", 3, 9)]).unwrap().kept, 1);
    let listed = home.shared().vods(&VodQuery { limit: 9, ..VodQuery::default() }).unwrap();
    assert_eq!((names(&listed.items), listed.unreadable.len()), (vec!["room2.mp4", "room3.mp4"], 1));
    assert_eq!(unfreed(&home, 9).len(), 2, "one that is not understood is not freed");
    assert!(home.check(true).unwrap().unreadable.len() == 1);
    home.restart();
    assert_eq!(stands(&home, TreeId::Vods, &vod.vod_id), row);
    assert_eq!(home.merge_rebuilt(&[record("room1", 1, 9)]).unwrap(), MergeCounts { added: 0, kept: 1, replaced: 0 });
    assert_eq!(stands(&home, TreeId::Vods, &vod.vod_id), row);
}

#[test]
fn a_newer_journal_entry_is_never_written_again() {
    let mut home = TestCatalog::new();
    let (recording, other) = (settled("room1", 1), settled("room2", 2));
    let key = attempt(&home, &recording, 1);
    attempt(&home, &other, 1);
    let row = raised(&home, TreeId::Journal, &key.to_string());

    home.restart();
    assert!(is_refused(&home.begin(&recording, 2)));
    assert!(is_refused(&home.advance(&key, Stage::Begun, Step::Quarantined { defects: Vec::new() }, 2)));
    let why = Postponed { class: Class::Transient, message: String::new(), tries: 1, due_ms: 3 };
    assert!(is_refused(&home.postpone(&key, &why)));
    assert!(is_refused(&home.commit_vod(&key, &record("room1", 1, 2), &[], false, 2)));
    assert_eq!(home.leave_out(std::slice::from_ref(recording.candidate()), 2).unwrap(), 0);
    assert_eq!(home.open_entries().unwrap().items.len(), 1, "the other is carried on");
    assert!(!home.knows(recording.path(), &recording.candidate().fingerprint).unwrap().may_be_taken(i64::MAX));
    home.restart();
    assert_eq!(stands(&home, TreeId::Journal, &key.to_string()), row);
    attempt(&home, &other, 3);
}

#[test]
fn a_newer_delivery_is_never_written_again_and_holds_up_no_other() {
    let mut home = TestCatalog::new();
    let (newer, other) = (catalogue(&home, "newer", 1, 20), catalogue(&home, "other", 2, 10));
    let id = Delivery::id_of(&newer.vod_id, "primary");
    let row = raised(&home, TreeId::Deliveries, &id);

    assert_eq!(ids(&home.due(30, 9).unwrap()), ["other"]);
    assert!(is_refused(&home.begin_delivery(&id, 30)) || home.begin_delivery(&id, 30).unwrap().is_none());
    assert!(is_refused(&home.delivered(&id, &[object(&newer, "primary")], 30)));
    assert!(is_refused(&home.delivery_failed(&id, Class::Permanent, "x", None, 30)));
    assert!(is_refused(&home.deliver_again(&id, "x", 30)));
    assert!(is_refused(&home.enqueue(&[delivery(&newer, "primary", 40)])));
    assert_eq!(home.retry(Retry::All, 40).unwrap(), 1);
    assert_eq!(home.bring_back(40).unwrap(), 0);
    home.restart();
    assert_eq!(stands(&home, TreeId::Deliveries, &id), row);
    assert!(home.store().prefix(TreeId::ByDue, b"primary").unwrap().count() == 2, "it stays in the queue");
    assert_eq!(ids(&home.due(50, 9).unwrap()), [other.stream_id]);
}
