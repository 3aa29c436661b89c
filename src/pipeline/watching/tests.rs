//! A reload at work.

use std::fs;

use super::*;
use crate::clock::Clock;
use crate::discover::root_of;
use crate::pipeline::{OpeningOptions, Stop};

/// One root, in a directory.
fn settings_in(dir: &Path) -> PipelineSettings {
    let root = dir.join("root");
    fs::create_dir(&root).unwrap();
    let mut settings = PipelineSettings { state_dir: dir.join("state"), ..PipelineSettings::default() };
    settings.watch.roots.push(root_of(&root, &[]).root);
    settings
}

#[test]
fn a_configuration_that_cannot_be_watched_leaves_the_former_one_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings_in(dir.path());
    let engine = Engine::start(settings.clone(), Stop::default(), OpeningOptions::default()).unwrap();
    let mut watcher = Watcher::start(&engine, &settings).unwrap();
    let mut nothing = settings.clone();
    nothing.watch.roots.clear();
    let refused = watcher.reload(nothing, || panic!("it is not in force"));
    assert!(matches!(refused, Err(PipelineError::NoRoots)), "{refused:?}");
    assert_eq!(*engine.pipeline().settings(), settings);
    engine.stop_working();
}

#[test]
fn a_rescan_is_due_when_its_time_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings_in(dir.path());
    let clock = Clock::standing_at(1_700_000_000_000);
    let opening = OpeningOptions { clock: clock.clone(), ..OpeningOptions::default() };
    let engine = Engine::start(settings.clone(), Stop::default(), opening).unwrap();
    let mut watcher = Watcher::start(&engine, &settings).unwrap();
    let begun = watcher.scanned;
    let (_orders, control) = crossbeam_channel::unbounded();
    watcher.turn(&control);
    assert_eq!(watcher.scanned, begun);
    clock.advance(settings.watch.rescan);
    watcher.turn(&control);
    assert_eq!(watcher.scanned, begun + settings.watch.rescan);
    watcher.freeing.join();
    engine.stop_working();
}
