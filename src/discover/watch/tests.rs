//! Events of a real directory.

use super::*;
use crate::discover::options::{FragmentedPolicy, Server};
use std::fs;
use std::time::Duration;

/// Long enough for any machine: these waits end as soon as the event is there.
const PATIENCE: Duration = Duration::from_secs(20);

fn root(path: &Path) -> RootOptions {
    RootOptions {
        path: path.to_owned(),
        server: Server::AntMedia,
        template: None,
        stream: None,
        fragmented: FragmentedPolicy::Auto,
        deliver_progressive: false,
        shared: false,
        first_right: false,
        app: None,
        control: crate::discover::ControlOptions::default(),
    }
}

/// Waits for an event that is as asked for, past all others.
fn wait_for(events: &Receiver<WatchEvent>, what: &str, matches: impl Fn(&WatchEvent) -> bool) -> WatchEvent {
    let deadline = std::time::Instant::now() + PATIENCE;
    while let Ok(event) = events.recv_deadline(deadline) {
        if matches(&event) {
            return event;
        }
    }
    panic!("no event: {what}");
}

#[test]
fn closes_renames_and_removals_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (watch, events) = RootWatcher::start(&[root(dir.path())], &WatchOptions::default()).unwrap();
    assert!(!watch.shared.is_polled(dir.path()));
    let (temporary, path) = (dir.path().join("x.mp4.tmp_extension"), dir.path().join("x.mp4"));
    fs::write(&temporary, "x").unwrap();
    wait_for(&events, "close", |e| matches!(e, WatchEvent::Closed(p) if *p == temporary));
    fs::rename(&temporary, &path).unwrap();
    wait_for(&events, "removal", |e| matches!(e, WatchEvent::Removed(p) if *p == temporary));
    wait_for(&events, "rename", |e| matches!(e, WatchEvent::Renamed { to } if *to == path));
    fs::remove_file(&path).unwrap();
    wait_for(&events, "removal", |e| matches!(e, WatchEvent::Removed(p) if *p == path));
}

#[test]
fn new_directories_are_watched_and_what_they_hold_is_rescanned() {
    let dir = tempfile::tempdir().unwrap();
    let (_watch, events) = RootWatcher::start(&[root(dir.path())], &WatchOptions::default()).unwrap();
    let deep = dir.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let path = deep.join("x.mp4");
    fs::write(&path, "x").unwrap();
    // The file was there before the watch, and a rescan of a directory above it follows, or its close is told.
    let found = |e: &WatchEvent| match e {
        WatchEvent::Rescan { directory: Some(d), .. } => path.starts_with(d),
        WatchEvent::Closed(p) => *p == path,
        _ => false,
    };
    wait_for(&events, "rescan or close", found);

    let outside = tempfile::tempdir().unwrap();
    let moved = dir.path().join("moved.mp4");
    fs::create_dir(outside.path().join("d")).unwrap();
    if fs::rename(outside.path().join("d"), &moved).is_ok() {
        wait_for(&events, "rescan", |e| matches!(e, WatchEvent::Rescan { directory: Some(d), .. } if *d == moved));
    }
}

#[test]
fn what_does_not_fit_becomes_a_rescan() {
    let dir = tempfile::tempdir().unwrap();
    let (_watch, events) = RootWatcher::start_with(&[root(dir.path())], &WatchOptions::default(), 2).unwrap();
    for n in 0..50 {
        fs::write(dir.path().join(format!("{n}.mp4")), "x").unwrap();
    }
    wait_for(&events, "rescan", |e| matches!(e, WatchEvent::Rescan { directory: None, .. }));
}

#[test]
fn a_root_that_goes_is_polled_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("streams");
    fs::create_dir(&path).unwrap();
    let (watch, events) = RootWatcher::start(&[root(&path)], &WatchOptions::default()).unwrap();
    fs::remove_dir(&path).unwrap();
    wait_for(&events, "root gone", |e| matches!(e, WatchEvent::Problem(DiscoverError::RootGone { .. })));
    assert!(watch.shared.is_polled(&path));
    fs::create_dir(&path).unwrap();
    watch.retry();
    wait_for(&events, "watched again", |e| matches!(e, WatchEvent::Rescan { directory: Some(d), .. } if *d == path));
    assert!(!watch.shared.is_polled(&path));
    fs::write(path.join("x.mp4"), "x").unwrap();
    wait_for(&events, "close", |e| matches!(e, WatchEvent::Closed(_)));
}

#[test]
fn a_root_that_is_not_there_is_told_and_polled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let (watch, events) = RootWatcher::start(&[root(&path)], &WatchOptions::default()).unwrap();
    wait_for(&events, "problem", |e| matches!(e, WatchEvent::Problem(DiscoverError::NotWatched { .. })));
    assert!(watch.shared.is_polled(&path));
}

#[test]
fn polling_by_choice_sets_no_watch() {
    let dir = tempfile::tempdir().unwrap();
    let options = WatchOptions { poll: true, ..WatchOptions::default() };
    let (watch, events) = RootWatcher::start(&[root(dir.path())], &options).unwrap();
    watch.retry();
    assert!(watch.shared.is_polled(dir.path()));
    fs::write(dir.path().join("x.mp4"), "x").unwrap();
    assert!(events.recv_timeout(Duration::from_millis(200)).is_err());
}

#[test]
fn a_dropped_watch_ends_its_threads() {
    let dir = tempfile::tempdir().unwrap();
    let (watch, events) = RootWatcher::start(&[root(dir.path())], &WatchOptions::default()).unwrap();
    drop(watch);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match events.recv_deadline(deadline) {
            Ok(_) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => panic!("a thread still holds the channel"),
        }
    }
}
