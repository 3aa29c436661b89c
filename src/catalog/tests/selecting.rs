//! Positions, searches and counts follow every change of the catalogue.

use super::*;

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
