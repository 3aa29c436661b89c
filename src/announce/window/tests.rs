//! Order, rests and memory of a window.

use proptest::prelude::*;

use super::*;
use crate::recording::{RecordingFacts, VodFacts};

fn of_recording(name: &str) -> Event {
    let recording = RecordingFacts { key: name.into(), stream_id: "s".into(), path: "/srv/x".into() };
    Event::Quarantined { recording, defects: Vec::new() }
}

fn vod(name: &str) -> VodFacts {
    let (vod_id, stream_id, path) = (name.to_owned(), "s".into(), "/srv/x.mp4".into());
    VodFacts { vod_id, stream_id, path, size_bytes: 1, duration_ms: 1, start_ms: 1 }
}

fn of_vod(name: &str) -> Event {
    Event::Freed { vod: vod(name) }
}

fn of_both(recording: &str, name: &str) -> Event {
    let recording = RecordingFacts { key: recording.into(), stream_id: "s".into(), path: "/srv/x".into() };
    Event::Salvaged { recording, vod: vod(name), defects: Vec::new() }
}

fn window(events: &[Event]) -> EventWindow {
    let mut window = EventWindow::new(0, None);
    (1..).zip(events).for_each(|(sequence, event)| window.add(sequence, 10, event));
    window
}

fn all_next(window: &mut EventWindow, now_ms: i64) -> Vec<u64> {
    std::iter::from_fn(|| window.next(now_ms)).collect()
}

#[test]
fn an_event_waits_for_the_earlier_ones_of_its_recording_and_for_no_other() {
    let mut window = window(&[of_recording("a"), of_both("a", "v"), of_vod("v"), of_recording("b"), of_vod("w")]);
    assert_eq!(all_next(&mut window, 0), [1, 4, 5]);
    window.done(1, 1);
    assert_eq!(all_next(&mut window, 1), [2]);
    window.done(4, 1);
    window.done(5, 1);
    assert_eq!(window.to_note(), (1, Some(serde_json::json!({ "failing": null, "events": {}, "done": [4, 5] }))));
    window.done(2, 2);
    assert_eq!(all_next(&mut window, 2), [3]);
    window.done(3, 2);
    assert_eq!(window.to_note(), (5, None));
}

#[test]
fn an_endpoint_that_is_down_is_asked_by_one_attempt_at_growing_steps_and_told_everything_when_it_is_back() {
    let mut window = window(&[of_recording("a"), of_recording("b"), of_recording("c")]);
    assert_eq!(all_next(&mut window, 0), [1, 2, 3]);
    for sequence in 1..=3 {
        window.failed(sequence, 0);
    }
    let (mut now_ms, mut rests) = (0, Vec::new());
    for _ in 0..12 {
        assert_eq!(window.next(now_ms), None);
        let due_ms = window.due_ms(now_ms).unwrap();
        rests.push(due_ms - now_ms);
        now_ms = due_ms;
        let tried = all_next(&mut window, now_ms);
        assert_eq!(tried.len(), 1);
        window.failed(tried[0], now_ms);
    }
    assert!(rests.is_sorted() && rests[0] >= 1_000 && rests.last() == Some(&LONGEST_REST_MS), "{rests:?}");
    now_ms = window.due_ms(now_ms).unwrap();
    let first = all_next(&mut window, now_ms);
    assert!(window.done(first[0], now_ms));
    now_ms += LONGEST_REST_MS;
    assert_eq!(all_next(&mut window, now_ms).len(), 2);
}

#[test]
fn an_event_that_is_not_taken_holds_up_its_own_recording_only_and_is_given_up_when_others_went() {
    let mut window = window(&[of_vod("bad"), of_vod("bad"), of_vod("good")]);
    let (mut now_ms, mut tries, mut sequence) = (0, 0, 3);
    loop {
        match window.next(now_ms) {
            Some(1) => {
                tries += 1;
                if window.failed(1, now_ms) == RetryDecision::GivenUp {
                    break;
                }
            }
            Some(other) => {
                assert_ne!(other, 2);
                window.done(other, now_ms);
            }
            None => now_ms = window.due_ms(now_ms).unwrap(),
        }
        if window.room() > 0 {
            sequence += 1;
            window.add(sequence, now_ms, &of_vod(&sequence.to_string()));
        }
    }
    assert_eq!((tries, window.room()), (GIVE_UP_TRIES, 1));
    assert_eq!(window.next(now_ms + LONGEST_REST_MS), Some(2), "its recording goes on");
}

#[test]
fn an_endpoint_that_takes_nothing_gives_nothing_up() {
    let mut window = window(&[of_vod("a"), of_vod("b")]);
    let mut now_ms = 0;
    while now_ms < 10 * GIVE_UP_AFTER_MS {
        match window.next(now_ms) {
            Some(sequence) => assert!(matches!(window.failed(sequence, now_ms), RetryDecision::Again { .. })),
            None => now_ms = window.due_ms(now_ms).unwrap(),
        }
    }
    assert_eq!(window.to_note().0, 0);
}

#[test]
fn what_is_remembered_goes_on_after_a_restart() {
    let events = [of_vod("a"), of_vod("b"), of_vod("a")];
    let mut before = window(&events);
    assert_eq!(all_next(&mut before, 0), [1, 2]);
    before.done(2, 5);
    for now_ms in [10, 2_000] {
        before.failed(1, now_ms);
        before.next(now_ms + 1_000);
    }
    let (cursor, memory) = before.to_note();
    assert_eq!(cursor, 0);
    let mut after = EventWindow::new(cursor, memory.clone());
    assert_eq!(after.to_note(), (0, memory), "nothing is read yet, and nothing forgotten");
    (1..).zip(&events).for_each(|(sequence, event)| after.add(sequence, 10, event));
    assert_eq!(after.next(3_900), None);
    assert_eq!(all_next(&mut after, 4_000), [1], "the second was taken, the third waits for the first");
    assert!(matches!(after.failed(1, 4_000), RetryDecision::Again { failures: 3, due_ms: 8_000 }));
    assert_eq!(after.oldest_of("a"), Some(10));
    assert_eq!(after.oldest_of("b"), None);
}

#[test]
fn it_goes_back_when_nothing_is_under_way() {
    let mut window = window(&[of_vod("a"), of_vod("b")]);
    assert_eq!(window.next(0), Some(1));
    window.rewind(0);
    assert!(!window.apply_rewind());
    assert_eq!((window.next(0), window.room()), (None, 0));
    window.done(1, 1);
    assert!(window.apply_rewind());
    assert_eq!((window.read_to(), window.to_note()), (0, (0, None)));
    window.add(1, 10, &of_vod("a"));
    assert_eq!(window.next(1), Some(1));
}

#[test]
fn a_clock_that_was_set_back_makes_nobody_wait() {
    let mut window = window(&[of_vod("a")]);
    window.next(10 * LONGEST_REST_MS);
    window.failed(1, 10 * LONGEST_REST_MS);
    assert_eq!(window.next(0), Some(1));
}

proptest! {
    /// Whatever fails when: each event is done, once, in the order of its recording.
    #[test]
    fn everything_is_done_once_in_order(names in proptest::collection::vec(0_u8..4, 1..40), fails in proptest::collection::vec(any::<bool>(), 0..60)) {
        let events: Vec<_> = names.iter().map(|name| of_vod(&name.to_string())).collect();
        let (mut window, mut fails, mut now_ms) = (window(&events), fails.into_iter(), 0);
        let (mut done, mut under_way) = (Vec::new(), Vec::new());
        while done.len() < events.len() {
            under_way.extend(window.next(now_ms));
            if under_way.len() < 3 && window.due_ms(now_ms).is_some_and(|due_ms| due_ms <= now_ms) && window.failing.is_none() {
                continue;
            }
            match under_way.pop() {
                Some(sequence) if fails.next() == Some(true) => drop(window.failed(sequence, now_ms)),
                Some(sequence) => {
                    window.done(sequence, now_ms);
                    done.push(sequence);
                }
                None => now_ms = window.due_ms(now_ms).unwrap().max(now_ms),
            }
        }
        for name in 0..4 {
            let of_name: Vec<_> = done.iter().filter(|n| names[usize::try_from(**n - 1).unwrap()] == name).collect();
            prop_assert!(of_name.is_sorted());
        }
        done.sort_unstable();
        prop_assert_eq!(done, (1..=events.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(window.to_note(), (events.len() as u64, None));
    }
}
