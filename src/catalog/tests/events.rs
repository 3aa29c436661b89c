//! The event log: what is written when, what consumers read, what is dropped.

use std::time::Duration;

use super::*;
use crate::fault::Class;

fn names_of(page: &EventPage) -> Vec<&'static str> {
    page.events.iter().map(|logged| logged.event.name()).collect()
}

fn all(home: &Catalog) -> EventPage {
    home.shared().events(0, usize::MAX).unwrap()
}

/// Writes so many events at a time.
fn write(home: &Catalog, count: u64, at_ms: i64) {
    let event = Event::TargetResumed { target: "primary".into() };
    (0..count).for_each(|_| home.logged(at_ms, |_, log| log.append(&event)).unwrap());
}

fn limited(keep: u64, keep_for: Duration) -> TestCatalog {
    let home = TestCatalog::new();
    home.shared().limit_events(EventLimits { keep, keep_for });
    home
}

#[test]
fn every_transition_of_a_recording_is_an_event_in_its_order() {
    let mut home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let id = Delivery::id_of(&vod.vod_id, "primary");
    home.begin_delivery(&id, 20).unwrap();
    home.delivery_failed(&id, Class::Transient, "connection reset", Some(40), 30).unwrap();
    home.begin_delivery(&id, 40).unwrap();
    home.delivered(&id, &[object(&vod, "primary")], 50).unwrap();
    home.shared().freed(&vod.vod_id, 60).unwrap();
    home.shared().freed(&vod.vod_id, 61).unwrap();
    home.delete_vod(&vod.vod_id, 70).unwrap();
    home.restart();
    let page = all(&home);
    let expected = [
        "recording.seen",
        "recording.begun",
        "recording.finished",
        "vod.catalogued",
        "delivery.started",
        "delivery.failed",
        "delivery.started",
        "delivery.completed",
        "vod.available",
        "local.freed",
        "vod.deleted",
    ];
    assert_eq!(names_of(&page), expected);
    let numbers = page.events.iter().map(|logged| (logged.sequence, logged.at_ms)).collect::<Vec<_>>();
    assert_eq!(numbers, (1..).zip([10, 10, 10, 10, 20, 30, 40, 50, 50, 60, 70]).collect::<Vec<_>>());
    assert!(page.events.iter().all(|logged| logged.event.stream_id() == Some("room1")));
    assert!(page.events[2..].iter().all(|logged| logged.event.vod_id() == Some(&vod.vod_id)));
}

#[test]
fn an_event_holds_what_a_consumer_needs_when_the_record_is_gone() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 10);
    let mut vod = record("room1", 1, 10);
    let track = |kind, codec: &str| TrackSummary { codec: codec.into(), kind, ..track() };
    vod.tracks = vec![track(TrackKind::Video, "h264"), track(TrackKind::Audio, "aac")];
    (vod.salvaged, vod.outcome) = (true, Outcome::Salvaged);
    home.commit_vod(&key, &vod, &[delivery(&vod, "primary", 10)], false, 10).unwrap();
    let id = Delivery::id_of(&vod.vod_id, "primary");
    home.begin_delivery(&id, 20).unwrap();
    home.delivered(&id, &[object(&vod, "primary")], 20).unwrap();
    let told = all(&home).events;
    let json = |name: &str| {
        let found = told.iter().find(|logged| logged.event.name() == name);
        serde_json::to_value(found.unwrap_or_else(|| panic!("no {name}"))).unwrap()
    };
    let salvaged = json("recording.salvaged");
    assert_eq!(salvaged["recording"]["key"], key.to_string());
    assert_eq!(salvaged["recording"]["path"], "/srv/room1.flv.tmp");
    assert_eq!((&salvaged["vod"]["path"], &salvaged["atMs"]), (&"/srv/room1.mp4".into(), &10.into()));
    let completed = json("delivery.completed");
    assert_eq!(completed["codecs"], serde_json::json!(["h264", "aac"]));
    assert_eq!(completed["objects"][0]["url"], "s3://bucket/room1.mp4");
    assert_eq!(completed["delivery"]["durationMs"], 8_000);
    assert_eq!((&completed["type"], &completed["sequence"]), (&"delivery.completed".into(), &6.into()));
    let available = json("vod.available");
    assert_eq!((&available["codecs"], &available["vod"]["durationMs"]), (&completed["codecs"], &vod.duration.into()));
    assert_eq!(available["object"], completed["objects"][0]);
}

fn track() -> TrackSummary {
    TrackSummary {
        kind: TrackKind::Data,
        codec: String::new(),
        packets: 1,
        bytes: 1,
        duration_ms: 1,
        start_ms: 0,
        width: None,
        height: None,
        frame_rate: None,
        keyframe_interval_ms: None,
        sample_rate_hz: None,
        channels: None,
        language: None,
        digest: None,
    }
}

#[test]
fn what_was_not_finished_is_told_with_its_reason() {
    let home = TestCatalog::new();
    let key = attempt(&home, &settled("room1", 1), 1);
    let failed = Step::Failed { class: Class::Environment, message: "disk full".into(), due_ms: Some(9) };
    home.advance(&key, Stage::Begun, failed, 2).unwrap();
    assert_eq!(attempt(&home, &settled("room1", 1), 9), key);
    home.advance(&key, Stage::Begun, Step::Quarantined { defects: vec![Defect::NotMedia] }, 10).unwrap();
    let page = all(&home);
    let expected =
        ["recording.seen", "recording.begun", "recording.failed", "recording.begun", "recording.quarantined"];
    assert_eq!(names_of(&page), expected, "it is seen once");
    assert!(matches!(&page.events[2].event, Event::Failed { message, due_ms: Some(9), .. } if message == "disk full"));
    assert!(matches!(page.events[3].event, Event::Begun { attempt: 2, .. }));
}

#[test]
fn a_transition_that_did_not_happen_is_no_event() {
    let home = TestCatalog::new();
    let vod = record("room1", 1, 1);
    let key = JournalKey::of(Path::new("/x"), &fingerprint(1));
    assert!(home.commit_vod(&key, &vod, &[], false, 1).is_err());
    assert!(home.delete_vod(&vod.vod_id, 2).is_err());
    assert!(home.delivered("nothing", &[], 3).is_err());
    assert_eq!(all(&home).events, []);
    home.logged(4, |_, log| log.append(&Event::TargetResumed { target: "a".into() })).unwrap();
    assert_eq!(all(&home).events[0].sequence, 1, "no number was used up");
}

#[test]
fn what_an_undo_or_a_second_look_finds_is_told_once() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let copy = object(&vod, "primary");
    home.shared().update_vod(&vod.vod_id, |vod| vod.remote.push(copy.clone())).unwrap();
    for at_ms in [20, 21] {
        home.shared().verified(&vod.vod_id, &copy, Some(("it is missing", false)), at_ms).unwrap();
    }
    home.shared().verified(&vod.vod_id, &copy, None, 22).unwrap();
    home.undone(&vod.vod_id, 30).unwrap();
    let page = all(&home);
    assert_eq!(names_of(&page)[4..], ["delivery.differs", "recording.undone"]);
    assert!(matches!(&page.events[4].event, Event::Differs { object, .. } if object.key == "room1.mp4"));
}

#[test]
fn a_target_is_paused_once_until_it_takes_a_delivery_and_so_is_a_disk_short_of_room() {
    let mut home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let before = all(&home).next;
    for at_ms in [20, 21] {
        home.target_paused("primary", Class::Environment, "no such bucket", at_ms).unwrap();
        home.disk_low(77, at_ms).unwrap();
    }
    home.restart();
    home.target_paused("primary", Class::Environment, "no such bucket", 30).unwrap();
    home.disk_low(5, 30).unwrap();
    home.disk_low(0, 31).unwrap();
    home.disk_low(6, 32).unwrap();
    let id = Delivery::id_of(&vod.vod_id, "primary");
    home.begin_delivery(&id, 40).unwrap();
    home.delivered(&id, &[object(&vod, "primary")], 41).unwrap();
    home.deliver_again(&id, "it is missing", 42).unwrap();
    home.begin_delivery(&id, 43).unwrap();
    home.delivered(&id, &[object(&vod, "primary")], 44).unwrap();
    let page = home.shared().events(before, 99).unwrap();
    let others = names_of(&page)
        .into_iter()
        .filter(|name| !name.starts_with("delivery") && *name != "vod.available")
        .collect::<Vec<_>>();
    assert_eq!(others, ["target.paused", "disk.low", "disk.low", "target.resumed"]);
}

#[test]
fn an_event_and_what_it_tells_of_survive_a_kill_together() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    let left = home.as_left_by_a_kill();
    assert_eq!(left.shared().count().unwrap(), 1);
    assert_eq!(names_of(&all(&left)).last(), Some(&"vod.catalogued"));
    catalogue(&left, "room2", 2, 20);
    let numbers = all(&left).events.iter().map(|logged| logged.sequence).collect::<Vec<_>>();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>(), "numbers go on");
    assert_eq!(all(&left).events[3].event.vod_id(), Some(vod.vod_id.as_str()));
}

#[test]
fn what_is_read_is_durable() {
    let home = TestCatalog::new();
    let vod = catalogue(&home, "room1", 1, 10);
    home.begin_delivery(&Delivery::id_of(&vod.vod_id, "primary"), 20).unwrap();
    assert_eq!(home.store().durable_event(), 4, "the start of a delivery waits for nothing");
    assert_eq!(home.shared().events(4, 9).unwrap().next, 5);
    assert_eq!(home.store().durable_event(), 5);
}

#[test]
fn a_consumer_goes_on_where_it_was_and_pages_follow_each_other() {
    let mut home = TestCatalog::new();
    write(&home, 5, 1);
    home.shared().add_consumer("hooks", ConsumerStart::Oldest).unwrap();
    home.shared().add_consumer("tail", ConsumerStart::Now).unwrap();
    assert_eq!(home.shared().unread_events("tail", 9).unwrap().events, []);
    let first = home.shared().unread_events("hooks", 2).unwrap();
    assert_eq!((first.events.len(), first.next, first.lost), (2, 2, 0));
    assert_eq!(home.shared().unread_events("hooks", 2).unwrap().next, 2, "nothing is read before it is acknowledged");
    home.shared().acknowledge_events("hooks", first.next).unwrap();
    home.shared().acknowledge_events("hooks", 1).unwrap();
    home.shared().acknowledge_events("tail", 99).unwrap();
    write(&home, 1, 2);
    home.shared().add_consumer("hooks", ConsumerStart::Oldest).unwrap();
    home.store().flush("test").unwrap();
    home.restart();
    let rest = home.shared().unread_events("hooks", 9).unwrap();
    assert_eq!(rest.events.iter().map(|logged| logged.sequence).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(home.shared().unread_events("tail", 9).unwrap().events[0].sequence, 6, "a cursor never passes the end");
    let consumers = home.shared().event_consumers().unwrap();
    let said = consumers.iter().map(|c| (c.name.as_str(), c.cursor, c.lag)).collect::<Vec<_>>();
    assert_eq!(said, [("hooks", 2, 4), ("tail", 5, 1)]);
    home.shared().remove_consumer("hooks").unwrap();
    assert!(matches!(home.shared().unread_events("hooks", 1), Err(CatalogError::NoSuchConsumer { .. })));
    assert!(matches!(home.shared().acknowledge_events("nobody", 1), Err(CatalogError::NoSuchConsumer { .. })));
}

#[test]
fn the_log_is_bounded_in_number_and_says_what_was_lost() {
    let home = limited(100, Duration::MAX);
    home.shared().add_consumer("slow", ConsumerStart::Oldest).unwrap();
    for _ in 0..300 {
        write(&home, 1, 1);
        assert!(all(&home).events.len() <= 100);
    }
    let page = home.shared().unread_events("slow", 9).unwrap();
    assert_eq!(page.events[0].sequence, page.lost + 1);
    assert!((200..=201).contains(&page.lost), "{} lost", page.lost);
    home.shared().limit_events(EventLimits { keep: 10, keep_for: Duration::MAX });
    write(&home, 1, 1);
    assert_eq!(all(&home).events.len(), 10);
}

#[test]
fn a_much_shorter_log_is_cut_by_and_by() {
    let home = limited(5_000, Duration::MAX);
    let event = Event::TargetResumed { target: "a".into() };
    home.logged(1, |_, log| (0..2_000).try_for_each(|_| log.append(&event))).unwrap();
    home.shared().limit_events(EventLimits { keep: 1, keep_for: Duration::MAX });
    let lengths = (0..5).map(|_| {
        write(&home, 1, 1);
        all(&home).events.len()
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [1_501, 1_002, 503, 4, 1]);
}

#[test]
fn what_is_too_old_goes_with_the_events_to_come() {
    let home = limited(10_000, Duration::from_millis(50));
    write(&home, 20, 1);
    write(&home, 20, 60);
    write(&home, 100, 100);
    let page = all(&home);
    assert!(page.events.iter().all(|logged| logged.at_ms >= 60), "{:?}", page.events[0]);
    assert_eq!(page.events.len(), 120);
}

#[test]
fn the_slowest_consumer_is_named_when_it_loses_events() {
    let (said, home) = (LogCapture::default(), limited(10, Duration::MAX));
    let subscriber = tracing_subscriber::fmt().with_writer(said.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        home.shared().add_consumer("slow", ConsumerStart::Oldest).unwrap();
        home.shared().add_consumer("fast", ConsumerStart::Oldest).unwrap();
        write(&home, 5, 1);
        home.shared().acknowledge_events("fast", 5).unwrap();
        write(&home, 7, 1);
    });
    let said = said.0.lock().unwrap();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(said.lines().filter(|line| line.contains("events dropped")).count(), 1, "{said}");
    assert!(said.contains("consumer=slow") && !said.contains("fast"), "{said}");
}

#[test]
fn a_consumer_remembers_more_than_its_cursor_and_may_go_back() {
    let mut home = TestCatalog::new();
    write(&home, 5, 1);
    assert_eq!(home.shared().consumer("hooks").unwrap(), None);
    assert!(home.shared().note_consumer("hooks", 1, None, false).is_err());
    home.shared().add_consumer("hooks", ConsumerStart::Now).unwrap();
    assert_eq!(home.shared().consumer("hooks").unwrap(), Some((5, None)));
    let memory = serde_json::json!({ "failures": 3 });
    home.shared().note_consumer("hooks", 2, Some(&memory), true).unwrap();
    home.restart();
    assert_eq!(home.shared().consumer("hooks").unwrap(), Some((2, Some(memory.clone()))));
    assert_eq!(home.shared().event_consumers().unwrap().len(), 1, "what is remembered is no consumer");
    home.shared().note_consumer("hooks", 99, None, false).unwrap();
    assert_eq!(home.shared().consumer("hooks").unwrap(), Some((5, None)), "a cursor never passes the end");
    home.shared().note_consumer("hooks", 1, Some(&memory), false).unwrap();
    home.shared().remove_consumer("hooks").unwrap();
    home.shared().add_consumer("hooks", ConsumerStart::Oldest).unwrap();
    assert_eq!(home.shared().consumer("hooks").unwrap(), Some((0, None)));
}

#[test]
fn who_listens_is_told_of_every_event_and_when_it_is_durable() {
    let home = TestCatalog::new();
    let told = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&told);
    home.shared().when_heard(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    let told = || told.load(std::sync::atomic::Ordering::SeqCst);
    write(&home, 2, 1);
    assert_eq!((told(), home.shared().end_of_events().unwrap()), (2, (2, 0)));
    home.store().flush("test").unwrap();
    assert_eq!((told(), home.shared().end_of_events().unwrap()), (3, (2, 2)));
    home.store().flush("test").unwrap();
    home.logged(1, |_, _| Ok(())).unwrap();
    assert_eq!(told(), 3, "nothing was appended");
}

/// Collects log lines.
#[derive(Clone, Default)]
struct LogCapture(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for LogCapture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for LogCapture {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn an_event_that_cannot_be_read_hides_no_other() {
    let home = TestCatalog::new();
    write(&home, 3, 1);
    let text = String::from_utf8(2_u64.to_be_bytes().to_vec()).unwrap();
    tamper(&home, tree::TreeId::Events, &text, b"{\"version\":1,\"atMs\":1,\"type\":\"never.heard.of\"}");
    let page = all(&home);
    assert_eq!(page.events.iter().map(|logged| logged.sequence).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((page.unreadable.len(), page.next), (1, 3));
    assert_eq!(home.shared().events(1, 1).unwrap().next, 2, "a reader gets past it");
}

#[test]
fn every_event_says_its_name_and_is_read_back() {
    let vod = VodFacts::of(&record("room1", 1, 1));
    let entry = settled("room1", 1);
    let recording = RecordingFacts { key: "0".into(), stream_id: "room1".into(), path: entry.candidate().path.clone() };
    let (defects, message, class) = (vec![Defect::NotMedia], "x".to_owned(), Class::Permanent);
    let delivery = DeliveryFacts::of(&delivery(&record("room1", 1, 1), "a", 1));
    let object = ObjectFacts::of(&object(&record("room1", 1, 1), "a"));
    let events = [
        Event::Seen { recording: recording.clone(), size_bytes: 1, server: "obs".into() },
        Event::Begun { recording: recording.clone(), attempt: 1 },
        Event::finished(recording.clone(), &record("room1", 1, 1)),
        Event::Salvaged { recording: recording.clone(), vod: vod.clone(), defects: Vec::new() },
        Event::Quarantined { recording: recording.clone(), defects },
        Event::Failed { recording, attempt: 1, class, message: message.clone(), due_ms: None },
        Event::Undone { vod: vod.clone() },
        Event::Catalogued { vod: vod.clone() },
        Event::Available { vod: vod.clone(), codecs: vec!["h264".into()], object: object.clone() },
        Event::Deleted { vod: vod.clone() },
        Event::DeliveryStarted { delivery: delivery.clone(), attempt: 1 },
        Event::Delivered { delivery: delivery.clone(), codecs: Vec::new(), objects: vec![object.clone()] },
        Event::DeliveryFailed { delivery, attempt: 1, class, message: message.clone(), due_ms: Some(1) },
        Event::Differs { vod: vod.clone(), object, difference: "x".into() },
        Event::TargetPaused { target: "a".into(), class, message },
        Event::TargetResumed { target: "a".into() },
        Event::Freed { vod },
        Event::DiskLow { short_bytes: 1 },
    ];
    let home = TestCatalog::new();
    home.logged(1, |_, log| events.iter().try_for_each(|event| log.append(event))).unwrap();
    let read = all(&home).events;
    for (written, read) in events.iter().zip(&read) {
        assert_eq!(read.event, *written);
        assert_eq!(serde_json::to_value(read).unwrap()["type"], written.name());
    }
    assert_eq!(read.len(), events.len());
}
