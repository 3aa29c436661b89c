//! Checking, repairing, rebuilding.

use super::super::tree::TreeId;
use super::*;

#[test]
fn a_check_finds_missing_and_dangling_rows_and_repairs_them() {
    let mut home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 1);
    catalogue(&home, "room2", 2, 2);
    assert!(home.check(false).unwrap().is_sound());
    let rows = index::rows(&vod);
    home.store().transact(|tx| rows.iter().try_for_each(|row| tx.remove(row.tree, &row.key))).unwrap();
    let due = index::due_key("primary", 1, 1, &Delivery::id_of(&vod.vod_id, "primary"));
    home.store().transact(|tx| tx.remove(TreeId::ByDue, &due)).unwrap();
    tamper(&home, TreeId::ByCreated, "dangling", b"nobody");
    assert!(home.reserve_name(Path::new("/srv/stale.mp4"), &JournalKey::of(Path::new("/x"), &fingerprint(9))).unwrap());

    let found = home.check(false).unwrap();
    assert_eq!((found.missing_rows, found.dangling_rows), (5, 3));
    assert_eq!(home.due(9, 9).unwrap().len(), 1);
    home.check(true).unwrap();
    home.restart();
    let checked = home.check(false).unwrap();
    assert!(checked.is_sound(), "{checked:?}");
    assert_eq!((checked.vods, checked.deliveries), (2, 2));
    assert_eq!(home.due(9, 9).unwrap().len(), 2);
    assert!(!home.is_name_taken(Path::new("/srv/stale.mp4")).unwrap());
}

#[test]
fn names_of_recordings_under_way_are_not_stale() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    home.reserve_name(Path::new("/srv/room1.mp4"), &key).unwrap();
    assert!(home.check(true).unwrap().is_sound());
    assert!(home.is_name_taken(Path::new("/srv/room1.mp4")).unwrap());
}

#[test]
fn a_rebuild_adds_what_is_missing_and_keeps_what_a_disk_cannot_tell() {
    let mut home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let id = Delivery::id_of(&vod.vod_id, "primary");
    home.begin_delivery(&id, 0).unwrap();
    home.delivered(&id, &[object(&vod, "primary")], 20).unwrap();
    let from_disk = |name, inode| VodRecord { creation_date: 500, ..record(name, inode, 500) };
    let records = [from_disk("room1", 1), from_disk("room2", 2)];

    assert_eq!(home.merge_rebuilt(&records).unwrap(), MergeCounts { added: 1, kept: 1, replaced: 0 });
    assert_eq!(home.merge_rebuilt(&records).unwrap(), MergeCounts { added: 0, kept: 2, replaced: 0 });
    home.restart();
    let kept = home.shared().vod(&vod.vod_id).unwrap().unwrap();
    assert_eq!((kept.creation_date, kept.remote.len()), (10, 1));
    assert!(!home.knows(&records[1].file_path, &records[1].fingerprint).unwrap().may_be_taken(0));
    assert!(home.check(false).unwrap().is_sound());
}

#[test]
fn ten_rescans_of_a_finished_tree_write_nothing() {
    let mut home = TestCatalog::new();
    let vods = (0..20).map(|n| catalogue(&home, &format!("room{n}"), n, 1)).collect::<Vec<_>>();
    home.restart();
    let db = home.state_dir().join("catalog/db");
    let before = (std::fs::read(&db).unwrap(), std::fs::metadata(&db).unwrap().modified().unwrap());
    for _ in 0..10 {
        for vod in &vods {
            assert!(!home.knows(&vod.file_path, &vod.fingerprint).unwrap().may_be_taken(i64::MAX));
            assert!(!home.knows(&vod.source_path, &vod.source).unwrap().may_be_taken(i64::MAX));
        }
    }
    assert_eq!((std::fs::read(&db).unwrap(), std::fs::metadata(&db).unwrap().modified().unwrap()), before);
}

#[test]
fn a_database_made_with_other_segments_keeps_them_and_works() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("state/catalog");
    std::fs::create_dir_all(&database).unwrap();
    drop(sled::Config::new().path(&database).open().unwrap());
    let conf = || String::from_utf8_lossy(&std::fs::read(database.join("conf")).unwrap()).into_owned();
    assert!(conf().contains("segment_size: 524288"), "{}", conf());

    let catalog = Catalog::open(&dir.path().join("state")).unwrap();
    let mut home = TestCatalog { dir, catalog: Some(catalog) };
    catalogue(&home, "room1", 1, 1);
    home.restart();
    assert!(home.check(false).unwrap().is_sound());
    assert_eq!(home.check(false).unwrap().vods, 1);
    assert!(conf().contains("segment_size: 524288"), "{}", conf());
}
