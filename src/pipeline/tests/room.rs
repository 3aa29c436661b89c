//! The file system of the state directory has no more room, from any write of a journey on: nothing is stuck, nothing counts
//! as a crash, and the recording is finished once there is room again, in this process or the next.

use std::fs;
use std::path::Path;

use super::super::context::PipelineContext;
use super::super::journey;
use super::super::outcome::JourneyOutcome;
use super::cases::{CASES, ExpectedRecording, RecordingCase, carry_on};
use super::disk::Disk;
use super::recording::files_below;
use crate::catalog::room;
use crate::cpu_permits::CpuPermits;
use crate::discover::Settled;
use crate::durable;

/// Writes of a journey at most.
const MOST_WRITES: u32 = 40;

/// Where the recording is, as the scan would find it.
fn settled(ctx: &PipelineContext) -> Settled {
    let places = super::super::finding::configured_places(&ctx.settings());
    let found = super::super::finding::find(&ctx.discovering, &places, None).unwrap().candidates;
    Settled::for_test(found.into_iter().next().unwrap())
}

fn run_journey(ctx: &PipelineContext, settled: &Settled) -> JourneyOutcome {
    journey::run(ctx, settled, &CpuPermits::new(1).acquire())
}

#[track_caller]
fn no_partial_is_left(disk: &Disk, what: &str) {
    let is_partial = |path: &Path| path.file_name().is_some_and(durable::is_partial);
    let left = files_below(&disk.root()).into_keys().find(|path| is_partial(path));
    assert_eq!(left, None, "{what}");
}

/// The disk as it was before anything came.
fn empty(disk: &Disk) {
    for dir in [disk.root(), disk.state_dir()] {
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
    }
}

/// Whether the journey needed more writes than it was given.
fn without_room_after(
    case: &RecordingCase,
    disk: &Disk,
    writes: u32,
    expected: &ExpectedRecording,
    restarts: bool,
) -> bool {
    let what = format!("{}, {writes} writes, restarts: {restarts}", case.name);
    empty(disk);
    case.put(disk);
    let mut ctx = case.open(disk).unwrap();
    let settled = settled(&ctx);
    room::leave(Some(writes));
    let ended = run_journey(&ctx, &settled);
    let was_short = room::is_short();
    no_partial_is_left(disk, &what);
    if !matches!(ended, JourneyOutcome::Finished { .. } | JourneyOutcome::AlreadyFinished { .. }) {
        let is_listed = !ctx.unjournalled().is_empty() || ctx.journaling.postponed.waits_at_all();
        assert!(is_listed, "{what}: {ended:?} and nothing waits");
    }
    // Still none: it is said again, and nothing else happens.
    for waiting in ctx.journaling.postponed.due(i64::MAX) {
        run_journey(&ctx, &waiting);
    }
    room::leave(None);
    if restarts {
        drop(ctx);
        ctx = case.open(disk).unwrap();
        let key = settled.candidate();
        assert!(!ctx.catalog.is_suspect(&key.path, &key.fingerprint).unwrap(), "{what}: counted as a crash");
        ctx = carry_on(ctx).unwrap();
    } else {
        for waiting in ctx.journaling.postponed.due(i64::MAX) {
            run_journey(&ctx, &waiting);
        }
        assert!(
            ctx.journaling.postponed.due(ctx.clock.now_ms()).is_empty() && !ctx.journaling.postponed.waits_at_all(),
            "{what}"
        );
    }
    expected.is_met(&ctx, disk).unwrap_or_else(|why| panic!("{what}: {why}"));
    was_short
}

#[test]
fn a_journey_that_runs_out_of_room_for_the_journal_goes_on_when_there_is_some() {
    for case in CASES.iter().filter(|case| !case.is_in_place) {
        let Some(disk) = Disk::new() else { return };
        case.put(&disk);
        let expected = ExpectedRecording::of(&case.start(&disk).unwrap(), &disk);
        for restarts in [false, true] {
            let short = (0..MOST_WRITES).map(|n| without_room_after(case, &disk, n, &expected, restarts));
            let short = short.take_while(|was_short| *was_short).count();
            assert!(short > 2, "{}: {short} writes were enough", case.name);
        }
    }
}
