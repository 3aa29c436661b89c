//! The delivery queue and the outbox.

use super::*;
use crate::fault::Class;

#[test]
fn what_finishes_now_overtakes_the_backlog() {
    let home = TestCatalog::new();
    for n in 0..5_u64 {
        catalogue(&home, &format!("old{n}"), n, 10 + i64::try_from(n).unwrap());
    }
    assert_eq!(ids(&home.due(100, 2).unwrap()), ["old4", "old3"]);
    catalogue(&home, "new", 9, 100);
    assert_eq!(ids(&home.due(100, 2).unwrap()), ["new", "old4"]);
    assert!(home.check(false).unwrap().is_sound());
}

/// Queues a delivery of a VoD that is in no record.
fn queue_one(home: &TestCatalog, name: &str, target: &str, at_ms: i64) {
    let vod = record(name, 1, at_ms);
    home.enqueue(&[delivery(&vod, target, at_ms)]).unwrap();
}

#[test]
fn what_waits_for_a_target_that_waits_costs_the_others_nothing() {
    use std::sync::atomic::Ordering;
    let rows_for_a_search = |waiting: u32| {
        let home = TestCatalog::new();
        let backlog: Vec<_> = (0..waiting).map(|n| delivery(&record(&format!("room{n}"), 1, 10), "dead", 10)).collect();
        home.enqueue(&backlog).unwrap();
        queue_one(&home, "early", "alive", 5);
        queue_one(&home, "late", "alive", 500);
        let among = DueFilter { may_try: &|target| target == "alive", is_free: &|_| true };
        let NextDue::Due(first) = home.next_due(20, &among).unwrap() else {
            panic!("the target that is alive has one")
        };
        assert_eq!(first.asset.stream_id, "early");
        home.begin_delivery(&first.id, 0).unwrap();
        let before = home.store().rows_read.load(Ordering::Relaxed);
        assert_eq!(home.next_due(20, &among).unwrap(), NextDue::At(500), "and nothing of the one that waits");
        home.store().rows_read.load(Ordering::Relaxed) - before
    };
    let few = rows_for_a_search(2);
    assert_eq!(rows_for_a_search(3_000), few);
    assert!(few < 10, "{few}");
}

#[test]
fn among_several_targets_the_last_queued_comes_first() {
    let home = TestCatalog::new();
    for (n, target) in ["b", "a", "a2", "b", "a"].into_iter().enumerate() {
        queue_one(&home, &format!("room{n}"), target, 10 + i64::try_from(n).unwrap());
    }
    assert_eq!(ids(&home.due(100, 9).unwrap()), ["room4", "room3", "room2", "room1", "room0"]);
    assert!(home.check(false).unwrap().is_sound());
}

#[test]
fn the_queue_of_an_earlier_version_is_taken_over() {
    let mut home = TestCatalog::new();
    for (name, due_ms) in [("room1", i64::MIN), ("room2", 700)] {
        let vod = record(name, 1, 10);
        let id = Delivery::id_of(&vod.vod_id, "primary");
        let mut waiting = delivery(&vod, "primary", 10);
        waiting.state = DeliveryState::Waiting { due_ms: due_ms.max(10), last_fault: None };
        home.enqueue(&[waiting]).unwrap();
        let now = index::due_key("primary", due_ms.max(10), 10, &id);
        let former = upgrade::former_due_key(due_ms, 10, &id);
        let moved = |tx: &store::Tx<'_>| {
            tx.remove(tree::TreeId::ByDue, &now)?;
            tx.put(tree::TreeId::ByDue, &former, b"")
        };
        home.store().transact(moved).unwrap();
    }
    tamper(&home, tree::TreeId::Meta, "schema", b"1");
    home.restart();
    assert_eq!(ids(&home.due(100, 9).unwrap()), ["room1"]);
    assert_eq!(ids(&home.due(700, 9).unwrap()), ["room1", "room2"]);
    let checked = home.check(false).unwrap();
    assert!(checked.is_sound(), "{checked:?}");
    let version = store::SCHEMA_VERSION.to_string();
    assert_eq!(&*home.store().get(tree::TreeId::Meta, "schema").unwrap().unwrap(), version.as_bytes());
}

#[test]
fn a_delivery_is_due_at_its_time_and_handed_out_once() {
    let mut home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let id = Delivery::id_of(&vod.vod_id, "primary");
    assert_eq!((home.due(9, 9).unwrap().len(), home.next_due_ms().unwrap()), (0, Some(10)));
    assert_eq!(home.due(10, 9).unwrap()[0].id, id);
    assert!(home.next_due_ms().unwrap().unwrap() <= 10);

    assert_eq!(home.begin_delivery(&id, 0).unwrap(), Some(1));
    assert_eq!(home.begin_delivery(&id, 0).unwrap(), None);
    assert_eq!((home.due(99, 9).unwrap().len(), home.next_due_ms().unwrap()), (0, None));

    home.restart();
    assert_eq!(home.begin_delivery(&id, 0).unwrap(), Some(1), "an attempt that ended with its process is not counted");
    home.delivery_failed(&id, Class::Transient, "connection reset", Some(400), 0).unwrap();
    assert_eq!(home.due(400, 9).unwrap()[0].attempts, 1);
    home.restart();
    assert_eq!(home.begin_delivery(&id, 0).unwrap(), Some(2));
    home.delivery_failed(&id, Class::Transient, "connection reset", Some(500), 0).unwrap();
    assert_eq!((home.due(499, 9).unwrap().len(), home.next_due_ms().unwrap()), (0, Some(500)));
    let DeliveryState::Waiting { last_fault, .. } = home.due(500, 9).unwrap()[0].state.clone() else { panic!() };
    assert_eq!(last_fault, Some((Class::Transient, "connection reset".into())));
    assert!(home.check(false).unwrap().is_sound());
}

#[test]
fn delivered_is_said_in_the_delivery_and_in_the_record_together() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let id = Delivery::id_of(&vod.vod_id, "primary");
    home.due(10, 9).unwrap();
    home.begin_delivery(&id, 0).unwrap();
    home.delivered(&id, &[object(&vod, "primary")], 20).unwrap();
    home.delivered(&id, &[object(&vod, "primary")], 20).unwrap();

    let left = home.as_left_by_a_kill();
    assert_eq!(left.shared().vod(&vod.vod_id).unwrap().unwrap().remote, [object(&vod, "primary")]);
    assert!(matches!(left.delivery(&id).unwrap().unwrap().state, DeliveryState::Delivered { .. }));
    assert!(left.due(i64::MAX, 9).unwrap().is_empty());
    assert_eq!(left.begin_delivery(&id, 0).unwrap(), None);
    assert_eq!((left.retry(Retry::All, 30).unwrap(), left.retry(Retry::One(&id), 30).unwrap()), (0, 0));
    assert!(left.pending_for(&vod.vod_id).unwrap().is_empty());
    assert_eq!(left.deliveries_of(&vod.vod_id).unwrap().len(), 1);
}

#[test]
fn the_copies_of_a_poster_are_not_those_of_the_recording() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let mut poster = delivery(&vod, "primary", 10);
    poster.asset.id = format!("{}-preview", vod.vod_id);
    poster.asset.kind = Kind::Preview;
    poster.id = Delivery::id_of(&poster.asset.id, "primary");
    assert_eq!(home.enqueue(std::slice::from_ref(&poster)).unwrap(), 1);
    assert_eq!(home.enqueue(std::slice::from_ref(&poster)).unwrap(), 0);
    home.begin_delivery(&poster.id, 0).unwrap();
    home.delivered(&poster.id, &[object(&vod, "primary")], 20).unwrap();
    assert!(home.shared().vod(&vod.vod_id).unwrap().unwrap().remote.is_empty());
    assert_eq!(home.deliveries_of_vod(&vod.vod_id).unwrap().len(), 2);
    home.delete_vod(&vod.vod_id, 30).unwrap();
    assert!(home.deliveries(&DeliveryFilter::default()).unwrap().items.is_empty());
}

#[test]
fn what_is_stuck_waits_for_a_person() {
    let mut home = TestCatalog::new();
    let (one, two) = (catalogue(&home, "room1", 1, 10), catalogue(&home, "room2", 2, 10));
    for vod in [&one, &two] {
        let id = Delivery::id_of(&vod.vod_id, "primary");
        home.begin_delivery(&id, 0).unwrap();
        home.delivery_failed(&id, Class::Permanent, "no such bucket", None, 0).unwrap();
    }
    home.restart();
    assert_eq!((home.due(i64::MAX - 1, 9).unwrap().len(), home.next_due_ms().unwrap()), (0, None));
    assert_eq!(home.retry(Retry::One(&Delivery::id_of(&one.vod_id, "primary")), 50).unwrap(), 1);
    assert_eq!(ids(&home.due(50, 9).unwrap()), ["room1"]);
    assert_eq!(home.retry(Retry::All, 60).unwrap(), 2);
    assert_eq!(home.due(60, 9).unwrap().iter().map(|d| d.attempts).max(), Some(1), "that it was tried stays known");
    let missing = home.retry(Retry::One("nobody"), 60);
    assert!(matches!(missing, Err(CatalogError::NoSuchDelivery { .. })));
    let filter = DeliveryFilter { pending_only: true, target: Some("archive"), ..DeliveryFilter::default() };
    assert!(home.deliveries(&filter).unwrap().items.is_empty());
    let filter =
        DeliveryFilter { pending_only: true, target: Some("primary"), limit: Some(1), ..DeliveryFilter::default() };
    assert_eq!(home.deliveries(&filter).unwrap().items.len(), 1);
}

#[test]
fn a_unit_with_more_files_than_fit_a_page_is_kept_whole() {
    let mut home = TestCatalog::new();
    let vod = record("room1", 1, 10);
    let mut unit = delivery(&vod, "primary", 10);
    let file = |n| AssetFile::new(format!("/srv/room1/segment{n:09}.ts").into(), fingerprint(n));
    unit.asset.files = (0..5_000).map(file).collect();
    home.enqueue(std::slice::from_ref(&unit)).unwrap();
    assert_eq!(home.as_left_by_a_kill().delivery(&unit.id).unwrap(), Some(unit.clone()));
    home.restart();
    assert_eq!(home.due(10, 9).unwrap(), [unit]);
}

#[test]
fn what_failed_is_due_when_what_held_it_up_may_be_in_order_again() {
    let home = TestCatalog::new();
    let ids: Vec<_> = (0..3).map(|n| catalogue(&home, &format!("room{n}"), n, 10).vod_id).collect();
    let ids: Vec<_> = ids.iter().map(|id| Delivery::id_of(id, "primary")).collect();
    for (id, class) in ids.iter().zip([Class::Environment, Class::Transient, Class::Environment]) {
        home.begin_delivery(id, 0).unwrap();
        home.delivery_failed(id, class, "refused", Some(500), 0).unwrap();
    }
    home.delivery_failed(&ids[2], Class::Environment, "refused", Some(15), 0).unwrap();
    assert_eq!(home.bring_back(20).unwrap(), 2, "one is due anyway");
    let mut due: Vec<_> = home.due(20, 9).unwrap().into_iter().map(|d| (d.id, d.attempts)).collect();
    due.sort();
    let mut expected: Vec<_> = ids.iter().map(|id| (id.clone(), 1)).collect();
    expected.sort();
    assert_eq!(due, expected);
    assert!(home.check(false).unwrap().is_sound());
}

#[test]
fn a_file_in_another_state_is_delivered_again_and_a_copy_elsewhere_is_not() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let mut known = delivery(&vod, "primary", 10);
    let deliver = |objects: &[RemoteObject]| {
        home.begin_delivery(&known.id, 0).unwrap().unwrap();
        home.delivered(&known.id, objects, 20).unwrap();
        home.shared().vod(&vod.vod_id).unwrap().unwrap().remote
    };
    assert_eq!(deliver(&[object(&vod, "primary")]).len(), 1);
    assert_eq!(home.enqueue(std::slice::from_ref(&known)).unwrap(), 0);

    let mut copied = known.clone();
    copied.asset.files[0].path = "/srv/copy/room1.mp4".into();
    copied.asset.files[0].fingerprint = fingerprint(77);
    assert_eq!(home.enqueue(&[copied]).unwrap(), 0, "the copy is another file");
    let restored = fingerprint(78);
    known.asset.files[0].fingerprint = restored;
    assert_eq!(home.enqueue(std::slice::from_ref(&known)).unwrap(), 1);

    // An upload of the old state that ends now proves nothing of the new one.
    home.begin_delivery(&known.id, 0).unwrap().unwrap();
    home.delivered(&known.id, &[object(&vod, "primary")], 30).unwrap();
    assert!(home.delivery(&known.id).unwrap().unwrap().is_pending());
    home.begin_delivery(&known.id, 0).unwrap().unwrap();
    home.delivered(&known.id, &[RemoteObject { source: restored, ..object(&vod, "primary") }], 40).unwrap();
    assert_eq!(home.shared().vod(&vod.vod_id).unwrap().unwrap().remote[0].source, restored);
    assert!(home.deliver_again(&known.id, "it is missing", 50).unwrap());
    assert!(!home.deliver_again(&known.id, "it is missing", 50).unwrap(), "once is enough");
    assert_eq!(home.due(50, 9).unwrap().len(), 1);
    assert!(home.check(false).unwrap().is_sound());
}
