//! Evidence gathered from real files and writers.

use super::*;
use crate::discover::lease::probe;
use crate::recording::journey::NameFacts;
use std::fs::File;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn candidate(path: &Path, is_temporary: bool) -> Candidate {
    Candidate {
        path: path.to_owned(),
        root: path.parent().unwrap().to_owned(),
        server: "template".into(),
        is_temporary,
        facts: NameFacts::default(),
        fingerprint: Fingerprint::of(&fs::symlink_metadata(path).unwrap()),
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    lease::until_free(path);
}

fn settler() -> Settler {
    Settler::new(&WatchOptions::default())
}

/// Whether the kernel can be asked here; without it these tests have nothing to show.
fn has_leases(path: &Path) -> bool {
    !matches!(probe(path), LeaseState::Unavailable(_))
}

/// Another process, under another user, that has the file open for writing and writes what it is told.
struct WriterProcess {
    child: Child,
    input: Option<ChildStdin>,
}

impl WriterProcess {
    /// `None` where this test may not become another user.
    fn start(path: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let file = File::options().append(true).open(path).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::from(file)).spawn().ok()?;
        let input = child.stdin.take();
        Some(Self { child, input })
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) {
        let before = fs::metadata(path).unwrap().len();
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
        while fs::metadata(path).unwrap().len() == before {
            std::thread::yield_now();
        }
    }

    fn finish(mut self) {
        self.input = None;
        self.child.wait().unwrap();
    }
}

#[test]
fn a_writer_under_another_uid_that_pauses_and_goes_on_is_never_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("room1.mp4");
    write(&path, "begun");
    let Some(mut writer) = WriterProcess::start(&path).filter(|_| has_leases(&path)) else { return };
    writer.write(&path, b"one");
    let paused = candidate(&path, false);
    // It says nothing for half a minute, and for a day: it is still open.
    for pause_ms in [0, 30_000, 86_400_000] {
        for mode in [Mode::Watch, Mode::Process, Mode::Recover] {
            let settling = settler().settle(paused.clone(), None, mode, now_ms() + pause_ms);
            assert!(matches!(settling, SettleOutcome::Wait { reason: WaitReason::Writer, .. }), "{settling:?}");
        }
    }
    writer.write(&path, b"two");
    let SettleOutcome::Changed(grown) = settler().settle(paused, None, Mode::Watch, now_ms()) else {
        panic!("it grew")
    };
    writer.finish();
    lease::until_free(&path);
    let SettleOutcome::Settled(settled) = settler().settle(grown, None, Mode::Watch, now_ms()) else {
        panic!("it ended")
    };
    assert_eq!(settled.evidence(), Evidence::Lease);
}

/// The directory of a file as a root that several nodes share.
fn shared_root(path: &Path, first_right: bool) -> RootOptions {
    RootOptions { shared: true, first_right, ..crate::discover::root_of(path, &[]).root }
}

#[test]
fn in_a_shared_root_a_close_counts_only_on_the_node_that_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4");
    write(&path, "x");
    let options = WatchOptions { roots: vec![shared_root(&path, true)], ..WatchOptions::default() };
    let seen = Some(SeenEvent::Closed { at_ms: now_ms() });
    for goes_first in [true, false] {
        let settler = Settler::new(&options).going_first_where(move |_| goes_first);
        let settling = settler.settle(candidate(&path, false), seen, Mode::Watch, now_ms());
        match settling {
            SettleOutcome::Settled(settled) if goes_first => assert_eq!(settled.evidence(), Evidence::CloseSeen),
            SettleOutcome::Wait { reason: WaitReason::Quiet, .. } if !goes_first => {}
            other => panic!("{goes_first}: {other:?}"),
        }
    }
}

#[test]
fn a_close_that_was_seen_is_the_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4");
    write(&path, "x");
    let found = candidate(&path, false);
    let seen = Some(SeenEvent::Closed { at_ms: now_ms() });
    let SettleOutcome::Settled(settled) = settler().settle(found, seen, Mode::Watch, now_ms()) else {
        panic!("not settled")
    };
    assert_eq!(settled.evidence(), Evidence::CloseSeen);
}

#[test]
fn what_is_gone_or_changed_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4");
    write(&path, "x");
    let found = candidate(&path, false);
    write(&path, "longer");
    let SettleOutcome::Changed(now) = settler().settle(found.clone(), None, Mode::Watch, now_ms()) else {
        panic!("changed")
    };
    assert_eq!(now.fingerprint.size_bytes, 6);
    fs::remove_file(&path).unwrap();
    assert_eq!(settler().settle(found.clone(), None, Mode::Watch, now_ms()), SettleOutcome::Gone);
    fs::create_dir(&path).unwrap();
    assert_eq!(settler().settle(found, None, Mode::Watch, now_ms()), SettleOutcome::Gone);
}

#[test]
fn a_segment_that_is_named_after_its_close_is_no_recording() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("live-0.ts");
    write(&path, "x");
    let found = candidate(&path, false);
    let seen = Some(SeenEvent::Closed { at_ms: now_ms() });
    let first = settler().settle(found.clone(), seen, Mode::Watch, now_ms());
    assert!(matches!(first, SettleOutcome::Wait { reason: WaitReason::Settle, .. }), "{first:?}");
    let alone = settler().settle(found.clone(), seen, Mode::Watch, now_ms() + 5000);
    assert!(matches!(alone, SettleOutcome::Settled(_)), "{alone:?}");
    write(&dir.path().join("live.m3u8"), "#EXTM3U\n#EXTINF:2,\nlive-0.ts\n");
    assert_eq!(settler().settle(found, seen, Mode::Watch, now_ms() + 5000), SettleOutcome::InUnit);
}

#[test]
fn an_orphan_waits_unless_it_is_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4.tmp_extension");
    write(&path, "x");
    if !has_leases(&path) {
        return;
    }
    // Of a template's server nothing is known, so that only time or a person makes its temporary an orphan.
    let waits = settler().settle(candidate(&path, true), None, Mode::Watch, now_ms());
    assert!(matches!(waits, SettleOutcome::Wait { reason: WaitReason::Orphan, .. }), "{waits:?}");
    for (mode, later_ms) in [(Mode::Recover, 0), (Mode::Process, 600_000)] {
        let taken = settler().settle(candidate(&path, true), None, mode, now_ms() + later_ms);
        assert!(matches!(taken, SettleOutcome::Settled(_)), "{taken:?}");
    }
}

#[test]
fn a_final_name_beside_a_live_temporary_waits_and_an_old_one_does_not_hold_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4");
    let temporary = dir.path().join("x.mp4.tmp_extension");
    write(&path, "x");
    write(&temporary, "x");
    if !has_leases(&path) {
        return;
    }
    let settle = |later_ms| settler().settle(candidate(&path, false), None, Mode::Watch, now_ms() + later_ms);
    assert!(matches!(settle(0), SettleOutcome::Wait { reason: WaitReason::Temporary, .. }));
    assert!(matches!(settle(600_000), SettleOutcome::Settled(_)));
    let _server = File::options().append(true).open(&temporary).unwrap();
    assert!(matches!(settle(600_000), SettleOutcome::Wait { reason: WaitReason::Temporary, .. }));
}

#[test]
fn a_time_in_the_future_is_replaced_by_the_first_sight() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4");
    write(&path, "x");
    let clock = Clock::standing_at(now_ms());
    let settler = settler().timed_by(&clock);
    let state = FileState::of(&path).unwrap().unwrap();
    let future = FileState { ctime_ms: now_ms() + 1_000_000_000, ..state };
    let since_ms = |state| settler.unchanged_since_ms(&path, state, clock.now_ms(), false);
    let first_ms = clock.now_ms();
    assert_eq!(since_ms(future), first_ms);
    clock.advance(Duration::from_millis(500));
    assert_eq!(since_ms(future), first_ms);
    clock.advance(Duration::from_millis(400));
    let grown = FileState { fingerprint: Fingerprint { size_bytes: 9, ..future.fingerprint }, ..future };
    assert_eq!(since_ms(grown), first_ms + 900);
}

/// The times of a file are those of the machine that wrote it, or of the file server.
#[test]
fn a_clock_that_is_an_hour_ahead_makes_no_shared_file_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.flv");
    write(&path, "x");
    let root = shared_root(&path, false);
    let clock = Clock::standing_at(now_ms() + 3_600_000);
    let settler = Settler::new(&WatchOptions { roots: vec![root], ..WatchOptions::default() }).timed_by(&clock);
    let ask = |mode| settler.settle(candidate(&path, false), None, mode, clock.now_ms());
    let is_waited_for = || matches!(ask(Mode::Watch), SettleOutcome::Wait { reason: WaitReason::Quiet, .. });
    assert!(is_waited_for());
    clock.advance(Duration::from_secs(119));
    assert!(is_waited_for());
    write(&path, "it grows");
    assert!(is_waited_for());
    clock.advance(Duration::from_secs(119));
    clock.set(clock.now_ms() + 86_400_000);
    assert!(is_waited_for(), "a clock that is set says nothing either");
    clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        assert!(matches!(ask(Mode::Watch), SettleOutcome::Settled(_)), "once it was quiet, it stays so");
    }
    write(&path, "it grows again");
    assert!(matches!(ask(Mode::Process), SettleOutcome::Settled(_)), "a person says that it is over");
    clock.set(clock.now_ms() + 2 * 86_400_000);
    assert!(matches!(ask(Mode::Watch), SettleOutcome::Settled(_)), "clocks are not that far apart");
}

/// Names the file for the second half of the next test, which runs as another user.
const AS_STRANGER: &str = "AFTERCAST_TEST_AS_STRANGER";

#[test]
fn a_stranger_without_capabilities_sees_a_pause_and_waits() {
    if let Some(path) = std::env::var_os(AS_STRANGER) {
        return judge_as_stranger(Path::new(&path));
    }
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
    let path = dir.path().join("room1.mp4");
    write(&path, "begun");
    if !has_leases(&path) {
        return;
    }
    let _writer = File::options().append(true).open(&path).unwrap();
    let this = std::env::current_exe().unwrap();
    let name = "discover::settle::tests::a_stranger_without_capabilities_sees_a_pause_and_waits";
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]).arg(this);
    command.args(["--exact", name, "--nocapture"]).env(AS_STRANGER, &path);
    let Ok(output) = command.output() else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    // The test's program may lie where a stranger may not go; then it says nothing at all.
    if said.contains("running 1 test") {
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn judge_as_stranger(path: &Path) {
    assert_eq!(probe(path), LeaseState::Unavailable(LeaseUnavailable::NotOwner));
    let settler = settler();
    for mode in [Mode::Watch, Mode::Process, Mode::Recover] {
        let paused = settler.settle(candidate(path, false), None, mode, now_ms() + 30_000);
        assert!(matches!(paused, SettleOutcome::Wait { reason: WaitReason::Quiet, .. }), "{paused:?}");
    }
    assert_eq!(lock(&settler.told).len(), 1, "what is missing is said once");
    let quiet = settler.settle(candidate(path, false), None, Mode::Watch, now_ms() + 121_000);
    let SettleOutcome::Settled(settled) = quiet else { panic!("{quiet:?}") };
    assert!(!settled.evidence().is_strong());
}
