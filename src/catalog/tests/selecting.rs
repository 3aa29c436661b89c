//! Positions, searches and counts follow every change of the catalogue.

use super::*;
use crate::catalog::tree::TreeId;

fn names(home: &TestCatalog, selection: &Selection<'_>, page: (usize, usize)) -> Vec<String> {
    let vods = home.shared().select(selection, page.0, page.1).unwrap();
    vods.into_iter().map(|vod| vod.vod_name).collect()
}

#[test]
fn every_change_is_seen_by_the_next_request() {
    let mut home = TestCatalog::new();
    let srv = [PathBuf::from("/srv")];
    let all = Selection { roots: &srv, ..Selection::default() };
    let count =
        |home: &TestCatalog, search| home.shared().count_selected(&Selection { search: Some(search), ..all }).unwrap();
    assert_eq!(home.shared().count_selected(&all).unwrap(), 0);
    let first = catalogue(&home, "b", 1, 10);
    assert_eq!(home.merge_rebuilt(&[record("a", 2, 20)]).unwrap().added, 1);
    assert_eq!(names(&home, &all, (0, 9)), ["b.mp4", "a.mp4"]);
    assert_eq!(names(&home, &Selection { order: Order::Name, ..all }, (0, 9)), ["a.mp4", "b.mp4"]);
    assert_eq!(names(&home, &Selection { descending: true, ..all }, (1, 1)), ["b.mp4"]);
    assert_eq!((count(&home, "MP4"), count(&home, "a.m"), count(&home, "")), (2, 1, 2));

    catalogue(&home, "c", 3, 15);
    assert_eq!(names(&home, &all, (1, 1)), ["c.mp4"]);
    let changes = home.shared().vod_changes();
    home.shared().update_vod(&first.vod_id, |vod| vod.stream_name = "Evening Show".into()).unwrap();
    assert_ne!(home.shared().vod_changes(), changes);
    assert_eq!(count(&home, "evening"), 1);
    let noted = |vod: &mut VodRecord| {
        vod.description = Some("Grüße".into());
        vod.metadata = [("room".to_owned(), "Blue Hall".to_owned())].into();
    };
    home.edit_notes(&first.vod_id, noted).unwrap();
    assert_eq!((count(&home, "GRÜSSE"), count(&home, "grüße"), count(&home, "blue hall")), (0, 1, 1));
    home.delete_vod(&first.vod_id, 2).unwrap();
    assert_eq!((count(&home, "evening"), count(&home, "")), (0, 2));
    assert_eq!(names(&home, &all, (0, 9)), ["c.mp4", "a.mp4"]);
    let elsewhere = [PathBuf::from("/elsewhere")];
    assert_eq!(names(&home, &Selection { roots: &elsewhere, ..all }, (0, 9)), [""; 0]);
    home.restart();
    assert_eq!(names(&home, &all, (0, 9)), ["c.mp4", "a.mp4"]);
    assert_eq!(names(&home, &Selection { stream: Some("a"), ..all }, (0, 9)), ["a.mp4"]);
}

#[test]
fn how_many_there_are_is_read_once_and_followed() {
    let home = TestCatalog::new();
    let read = |home: &TestCatalog| {
        let before = home.store().rows_read.load(std::sync::atomic::Ordering::Relaxed);
        let count = home.shared().count().unwrap();
        (count, home.store().rows_read.load(std::sync::atomic::Ordering::Relaxed) - before)
    };
    let first = catalogue(&home, "b", 1, 10);
    assert_eq!(home.shared().count_unless(|| true).unwrap(), None);
    assert_eq!((read(&home), read(&home)), ((1, 1), (1, 0)));
    let rebuilt = [record("a", 2, 20), record("c", 3, 30)];
    assert_eq!(home.merge_rebuilt(&rebuilt).unwrap().added, 2);
    assert_eq!(home.merge_rebuilt(&rebuilt).unwrap().added, 0);
    home.shared().update_vod(&first.vod_id, |vod| vod.bitrate += 1).unwrap();
    assert_eq!(read(&home), (3, 0));
    home.delete_vod(&first.vod_id, 2).unwrap();
    assert!(home.delete_vod(&first.vod_id, 3).is_err());
    assert_eq!(read(&home), (2, 0));
    assert_eq!(home.store().prefix(TreeId::ByCreated, b"").unwrap().count(), 2);
}

#[test]
fn the_newest_are_the_same_with_and_without_the_index() {
    let home = TestCatalog::new();
    // Recorded for an hour and catalogued behind it; one was catalogued a day late, one has a clock that is ahead, two are alike.
    let hour = 3_600_000;
    let times = |n: i64| match n {
        7 => (n * hour, n * hour - 24 * hour),
        11 => (n * hour, n * hour + 3 * hour),
        20 => (19 * hour, 18 * hour),
        _ => (n * hour, (n - 1) * hour),
    };
    let records: Vec<_> = (0..40_i64)
        .map(|n| {
            let mut vod = record(&format!("Room{n}"), n.cast_unsigned(), 0);
            (vod.creation_date, vod.start_time) = times(n);
            vod
        })
        .collect();
    home.merge_rebuilt(&records).unwrap();
    let newest = Selection { everywhere: true, order: Order::Start, descending: true, ..Selection::default() };
    let pages = [(0, 5), (0, 33), (3, 4), (38, 10), (50, 5), (0, 200)];
    let without = pages.map(|page| names(&home, &newest, page));
    assert_eq!(home.shared().count_selected(&newest).unwrap(), 40);
    assert!(!home.shared().0.selecting.is_built());
    // Any other order needs the index.
    names(&home, &Selection { descending: false, ..newest }, (0, 1));
    assert!(home.shared().0.selecting.is_built());
    assert_eq!(without, pages.map(|page| names(&home, &newest, page)));
    assert_eq!((without[0].len(), without[3].len(), home.shared().count_selected(&newest).unwrap()), (5, 2, 40));
}

#[test]
fn what_was_catalogued_long_after_it_was_made_is_ordered_by_the_index() {
    let home = TestCatalog::new();
    let records: Vec<_> = (0..2_100_u64)
        .map(|n| {
            let mut vod = record(&format!("room{n}"), n, 0);
            let at = n.cast_signed();
            // All at once, the oldest last.
            (vod.creation_date, vod.start_time) = (1_000_000_000 + at, 1_000_000 - 400 * at);
            vod
        })
        .collect();
    home.merge_rebuilt(&records).unwrap();
    let newest = Selection { everywhere: true, order: Order::Start, descending: true, ..Selection::default() };
    assert_eq!(names(&home, &newest, (0, 2)), ["room0.mp4", "room1.mp4"]);
    assert!(home.shared().0.selecting.is_built());
}
