//! Locks, broken databases, broken values.

use std::os::unix::fs::PermissionsExt;

use super::super::tree::TreeId;
use super::*;
use crate::fault::{Class, Fault};

#[test]
fn one_process_owns_a_state_directory() {
    let mut home = TestCatalog::new();
    let second = Catalog::open(&home.state_dir()).unwrap_err();
    assert!(matches!(&second, CatalogError::InUse { pid: Some(pid), .. } if *pid == std::process::id()), "{second:?}");
    assert_eq!(second.class(), Class::Environment);
    assert!(second.to_string().contains("in use by process") && second.hint().unwrap().contains("lock"));

    let clone = home.catalog.clone().unwrap();
    home.close();
    assert!(Catalog::open(&home.state_dir()).is_err(), "a handle is still there");
    drop(clone);
    Catalog::open(&home.state_dir()).unwrap();
}

#[test]
fn the_state_directory_is_nobody_elses() {
    let home = TestCatalog::new();
    let mode = std::fs::metadata(home.state_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_state_directory_that_cannot_be_is_said_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let error = Catalog::open(&dir.path().join("file")).unwrap_err();
    assert!(matches!(&error, CatalogError::StateDirectory { .. }), "{error:?}");
    assert!(error.to_string().contains("file") && error.hint().is_some());
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let mut home = TestCatalog::new();
    catalogue(&home, "room1", 1, 1);
    tamper(&home, TreeId::Meta, "schema", b"99");
    home.close();
    let error = Catalog::open(&home.state_dir()).unwrap_err();
    assert!(matches!(error, CatalogError::NewerSchema { found: 99, known: store::SCHEMA_VERSION, .. }));
    assert_eq!(error.class(), Class::Environment);
    assert!(Catalog::open_or_set_aside(&home.state_dir(), 1).is_err(), "it is not damaged");
}

type Damage = Box<dyn Fn(&Path)>;

#[test]
fn a_damaged_database_names_the_way_out_and_rebuild_takes_it() {
    let garbage = |len: usize| (0..len).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect::<Vec<_>>();
    let damages: [(&str, Damage); 4] = [
        ("emptied", Box::new(|db| std::fs::write(db, "").unwrap())),
        ("missing", Box::new(|db| std::fs::remove_file(db).unwrap())),
        ("overwritten", Box::new(move |db| std::fs::write(db, garbage(600_000)).unwrap())),
        (
            "head lost",
            Box::new(move |db| {
                let mut bytes = std::fs::read(db).unwrap();
                let head = bytes.len().min(4096);
                bytes[..head].copy_from_slice(&garbage(head));
                std::fs::write(db, bytes).unwrap();
            }),
        ),
    ];
    for (name, damage) in damages {
        let mut home = TestCatalog::new();
        let vod = catalogue(&home, "room1", 1, 1);
        home.close();
        damage(&home.state_dir().join("catalog/db"));

        let error = Catalog::open(&home.state_dir()).unwrap_err();
        assert!(matches!(error, CatalogError::Damaged { .. }), "{name}: {error:?}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("recordings are safe") && hint.contains("aftercast catalog rebuild"), "{hint}");

        let (catalog, aside) = Catalog::open_or_set_aside(&home.state_dir(), 42).unwrap();
        assert!(aside.unwrap().join("db").exists() || name == "missing");
        let merged = catalog.merge_rebuilt(std::slice::from_ref(&vod)).unwrap();
        assert_eq!(merged, MergeCounts { added: 1, ..MergeCounts::default() });
        assert_eq!(catalog.shared().vod(&vod.vod_id).unwrap(), Some(vod));
    }
}

#[test]
fn a_sound_database_is_not_set_aside() {
    let mut home = TestCatalog::new();
    home.close();
    assert_eq!(Catalog::open_or_set_aside(&home.state_dir(), 1).unwrap().1, None);
}

#[test]
fn a_broken_value_is_named_and_the_rest_is_listed() {
    let mut home = TestCatalog::new();
    let (bad, good) = (catalogue(&home, "room1", 1, 1), catalogue(&home, "room2", 2, 2));
    let bad_delivery = Delivery::id_of(&bad.vod_id, "primary");
    let bad_key = JournalKey::of(&bad.source_path, &bad.source);
    tamper(&home, TreeId::Vods, &bad.vod_id, b"{\"vodId\": 7");
    tamper(&home, TreeId::Deliveries, &bad_delivery, b"[]");
    tamper(&home, TreeId::Journal, &bad_key.to_string(), b"\xff\xfe");
    home.restart();

    let error = home.shared().vod(&bad.vod_id).unwrap_err();
    assert!(error.to_string().contains(&bad.vod_id), "{error}");
    assert!(matches!(error, CatalogError::Unreadable { tree: "vods", .. }));
    for newest_first in [false, true] {
        let listing = home.shared().vods(&VodQuery { limit: 9, newest_first, ..VodQuery::default() }).unwrap();
        assert_eq!((names(&listing.items), listing.unreadable.len()), (vec!["room2.mp4"], 1));
    }
    assert_eq!(home.shared().all_vods().unwrap().flatten().count(), 1);
    assert_eq!(home.entries(None, usize::MAX).unwrap().unreadable.len(), 1);
    assert_eq!(home.deliveries(&DeliveryFilter::default()).unwrap().unreadable.len(), 1);
    assert_eq!(ids(&home.due(9, 9).unwrap()), ["room2"]);
    assert!(home.begin(&settled("room1", 1), 3).is_err());
    assert_eq!(home.check(true).unwrap().unreadable.len(), 3);
    assert!(home.shared().vod_at_path(&good.file_path).unwrap().is_some());

    home.forget(&bad_key).unwrap();
    attempt(&home, &settled("room1", 1), 4);
    assert_eq!(home.merge_rebuilt(&[bad.clone(), good]).unwrap(), MergeCounts { added: 0, kept: 1, replaced: 1 });
    assert_eq!(home.shared().vod(&bad.vod_id).unwrap(), Some(bad));
}

#[test]
fn a_broken_open_entry_does_not_keep_the_catalogue_from_opening() {
    let mut home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    attempt(&home, &settled("room2", 2), 1);
    tamper(&home, TreeId::Journal, &key.to_string(), b"nonsense");
    home.restart();
    let open = home.open_entries().unwrap();
    assert_eq!((open.items.len(), open.unreadable.len()), (1, 1));
}

#[test]
fn a_path_that_json_cannot_carry_is_refused_and_nothing_is_half_written() {
    use std::os::unix::ffi::OsStrExt;
    let home = TestCatalog::new();
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff.flv")).into();
    let file = Settled::for_test(Candidate { path, ..candidate("room1", 1) });
    let error = home.begin(&file, 1).unwrap_err();
    assert!(matches!(error, CatalogError::Unwritable { .. }), "{error:?}");
    assert_eq!((error.class(), error.hint().is_some()), (Class::Permanent, true));
    assert!(home.open_entries().unwrap().items.is_empty());
    assert_eq!(home.knows(file.path(), &file.candidate().fingerprint).unwrap(), KnownFile::Unknown);
}

#[test]
fn a_database_that_failed_once_is_not_touched_again_and_can_still_be_closed() {
    let mut home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 1);
    home.store().give_up(sled::Error::Io(std::io::ErrorKind::StorageFull.into()));
    let error = home.shared().vod(&vod.vod_id).unwrap_err();
    assert_eq!((error.class(), error.hint().is_some()), (Class::Environment, true));
    assert!(home.begin(&settled("room2", 2), 2).is_err() && home.due(9, 9).is_err() && home.check(true).is_err());
    assert_eq!(home.as_left_by_a_kill().shared().vod(&vod.vod_id).unwrap(), Some(vod));
    home.close();
}
