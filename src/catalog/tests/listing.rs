//! Records: order, pages, streams, changes.

use super::*;

fn page(catalog: &Catalog, page: &VodQuery<'_>) -> Listing<VodRecord> {
    let listing = catalog.shared().vods(page).unwrap();
    assert!(listing.unreadable.is_empty());
    listing
}

#[test]
fn everything_is_there_after_a_restart() {
    let mut home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    home.shared().freed(&vod.vod_id, 20).unwrap();
    home.put_ledger("upload", &serde_json::json!({ "parts": [1] })).unwrap();
    home.remember_codec("room1", &serde_json::json!({ "sps": "Z0" })).unwrap();
    home.restart();
    assert_eq!(home.shared().vod(&vod.vod_id).unwrap().unwrap().freed_at, Some(20));
    assert_eq!(home.shared().vod_at_path(&vod.file_path).unwrap().unwrap().vod_id, vod.vod_id);
    assert_eq!(home.due(10, 9).unwrap().len(), 1);
    assert_eq!(home.ledger("upload").unwrap().unwrap()["parts"][0], 1);
    assert_eq!(home.codecs("room1").unwrap().unwrap()["sps"], "Z0");
    assert!(home.check(false).unwrap().is_sound());
    home.remove_ledger("upload").unwrap();
    assert!(home.ledgers("up").unwrap().is_empty());
}

#[test]
fn pages_join_into_the_whole_in_both_orders() {
    let home = TestCatalog::new();
    for n in 0..7 {
        catalogue(&home, &format!("room{n}"), n, [5, -3, 40, 4, 9, 1_000_000, 6][usize::try_from(n).unwrap()]);
    }
    let oldest_first =
        ["room1", "room3", "room0", "room6", "room4", "room2", "room5"].map(|name| format!("{name}.mp4"));
    for newest_first in [false, true] {
        let (mut after, mut listed) = (None, Vec::new());
        loop {
            let listing = page(&home, &VodQuery { after, limit: 3, newest_first, stream: None });
            listed.extend(listing.items.iter().map(|vod| vod.vod_name.clone()));
            after = listing.next.map(|next| next.to_string().parse::<Cursor>().unwrap());
            if after.is_none() {
                break;
            }
        }
        if newest_first {
            listed.reverse();
        }
        assert_eq!(listed, oldest_first);
    }
    assert_eq!(home.shared().count().unwrap(), 7);
    let all = home.shared().all_vods().unwrap().collect::<Result<Vec<_>>>().unwrap();
    assert_eq!(names(&all), oldest_first);
    assert!(page(&home, &VodQuery { limit: 7, ..VodQuery::default() }).next.is_none());
    assert!("".parse::<Cursor>().is_err() && "zz".parse::<Cursor>().is_err() && "abc".parse::<Cursor>().is_err());
}

#[test]
fn what_a_stream_began_before_a_time_comes_latest_first() {
    let home = TestCatalog::new();
    for (n, stream, start) in [(0, "room1", 30), (1, "room1", -10), (2, "room10", 20), (3, "room1", 20), (4, "room", 5)]
    {
        let name = format!("f{n}");
        let key = attempt(&home, &settled(&name, n), 1);
        let vod = VodRecord { stream_id: stream.into(), start_time: start, ..record(&name, n, 1) };
        home.commit_vod(&key, &vod, &[], false, 1).unwrap();
    }
    let starts = |before| {
        let vods = home.shared().begun_before("room1", before).unwrap();
        vods.map(|vod| vod.unwrap().start_time).collect::<Vec<_>>()
    };
    assert_eq!(starts(31), [30, 20, -10]);
    assert_eq!(starts(30), [20, -10]);
    assert_eq!((starts(i64::MIN), starts(i64::MAX)), (vec![], vec![30, 20, -10]));
}

#[test]
fn a_stream_lists_its_own_recordings_by_start() {
    let home = TestCatalog::new();
    for (n, stream) in ["room1", "room10", "room1", "room", "room1\0x"].into_iter().enumerate() {
        let n = u64::try_from(n).unwrap();
        let key = attempt(&home, &settled(&format!("f{n}"), n), 1);
        let vod = VodRecord {
            stream_id: stream.into(),
            start_time: -1_000 * i64::try_from(n).unwrap(),
            ..record(&format!("f{n}"), n, 1)
        };
        home.commit_vod(&key, &vod, &[], false, 1).unwrap();
    }
    let of = |stream| {
        let listing = page(&home, &VodQuery { limit: 9, newest_first: true, stream: Some(stream), after: None });
        names(&listing.items).join(" ")
    };
    assert_eq!(of("room1"), "f0.mp4 f2.mp4");
    assert_eq!(of("room10"), "f1.mp4");
    assert_eq!(of("room"), "f3.mp4");
    assert_eq!(of("nobody"), "");
    let first = page(&home, &VodQuery { limit: 1, stream: Some("room1"), ..VodQuery::default() });
    let rest =
        page(&home, &VodQuery { limit: 9, stream: Some("room1"), after: first.next.clone(), newest_first: false });
    assert_eq!((names(&first.items), names(&rest.items)), (vec!["f2.mp4"], vec!["f0.mp4"]));
    let foreign = page(&home, &VodQuery { limit: 9, stream: Some("room10"), after: first.next, newest_first: false });
    assert!(foreign.items.is_empty());
}

#[test]
fn a_change_moves_the_index_rows_with_it() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let changed = home.shared().update_vod(&vod.vod_id, |vod| {
        vod.file_path = "/elsewhere/room1.mp4".into();
        vod.start_time = 99;
        vod.vod_id = "not allowed".into();
    });
    assert_eq!(changed.unwrap().vod_id, vod.vod_id);
    assert_eq!(home.shared().vod_at_path(&vod.file_path).unwrap(), None);
    assert!(home.shared().vod_at_path(Path::new("/elsewhere/room1.mp4")).unwrap().is_some());
    assert!(home.check(false).unwrap().is_sound());
    assert!(matches!(home.shared().update_vod("nobody", |_| {}), Err(CatalogError::NoSuchVod { .. })));
}

#[test]
fn changes_by_many_threads_are_all_kept() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    home.shared().update_vod(&vod.vod_id, |vod| vod.bitrate += 1).unwrap();
                }
            });
        }
    });
    assert_eq!(home.shared().vod(&vod.vod_id).unwrap().unwrap().bitrate, vod.bitrate + 40);
}

#[test]
fn a_deleted_vod_leaves_nothing_and_is_not_made_again_by_a_scan() {
    let mut home = TestCatalog::new();
    let (gone, stays) = (catalogue(&home, "room1", 1, 10), catalogue(&home, "room2", 2, 10));
    assert_eq!(home.delete_vod(&gone.vod_id, 30).unwrap(), gone);
    home.restart();
    let told = home.shared().events(0, 99).unwrap().events.pop().unwrap();
    assert_eq!((told.at_ms, told.event), (30, Event::Deleted { vod: VodFacts::of(&gone) }));
    assert_eq!(home.shared().vod(&gone.vod_id).unwrap(), None);
    assert_eq!(names(&page(&home, &VodQuery { limit: 9, ..VodQuery::default() }).items), ["room2.mp4"]);
    assert_eq!(ids(&home.due(99, 9).unwrap()), ["room2"]);
    assert!(!home.is_name_taken(&gone.file_path).unwrap() && home.is_name_taken(&stays.file_path).unwrap());
    assert!(!home.knows(&gone.file_path, &gone.fingerprint).unwrap().may_be_taken(0));
    assert!(home.check(false).unwrap().is_sound());
    assert!(matches!(home.delete_vod(&gone.vod_id, 30), Err(CatalogError::NoSuchVod { .. })));
}

#[test]
fn the_same_name_recorded_again_after_freeing_is_another_vod() {
    let home = TestCatalog::new();
    let first = catalogue(&home, "room1", 1, 10);
    home.shared().freed(&first.vod_id, 20).unwrap();
    home.shared().freed(&first.vod_id, 30).unwrap();
    assert_eq!(home.shared().vod(&first.vod_id).unwrap().unwrap().freed_at, Some(20));
    let second = catalogue(&home, "room1", 2, 40);
    assert_ne!(first.vod_id, second.vod_id);
    assert_eq!(home.shared().count().unwrap(), 2);
    assert_eq!(home.shared().vod_at_path(&first.file_path).unwrap().unwrap().vod_id, second.vod_id);
}

#[test]
fn a_stored_record_speaks_ant_medias_names() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let stored = home.store().get(tree::TreeId::Vods, &vod.vod_id).unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&packing::unpack(&stored)).unwrap();
    assert_eq!((json["vodId"].as_str(), json["creationDate"].as_i64()), (Some(vod.vod_id.as_str()), Some(10)));
    assert_eq!((json["type"].as_str(), json["version"].as_u64()), (Some("streamVod"), Some(VOD_VERSION.into())));
}

#[test]
fn what_is_freed_is_not_looked_at_again() {
    let home = TestCatalog::new();
    let vods = [3, 1, 2].map(|n| catalogue(&home, &format!("room{n}"), n, i64::try_from(n).unwrap()));
    assert_eq!(names(&unfreed(&home, 2)), ["room1.mp4", "room2.mp4"]);
    home.shared().freed(&vods[1].vod_id, 9).unwrap();
    assert_eq!(names(&unfreed(&home, 9)), ["room2.mp4", "room3.mp4"]);
    assert!(home.check(false).unwrap().is_sound());
}

#[test]
fn a_listing_goes_on_after_any_vod() {
    let home = TestCatalog::new();
    let vods = [0, 1, 2].map(|n| catalogue(&home, &format!("room{n}"), n, i64::try_from(n).unwrap()));
    let after = |newest_first, stream: Option<&str>| {
        let after = Some(home.shared().place_of(&vods[1], stream.is_some()));
        page(&home, &VodQuery { after, limit: 9, newest_first, stream }).items
    };
    assert_eq!(names(&after(false, None)), ["room2.mp4"]);
    assert_eq!(names(&after(true, None)), ["room0.mp4"]);
    assert!(after(false, Some("room1")).is_empty());
}
