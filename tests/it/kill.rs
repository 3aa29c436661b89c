//! `process` over 40 recordings is killed after its n-th file-system or journal operation and started again:
//! every recording is finished once, catalogued once, delivered once, none is lost, no partial is left (promise 4).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::image::Image;
use crate::support::recordings::{cut, made, without_moov};
use crate::support::{Sandbox, standard_config, tree};

/// How often each transition must have been the last thing that happened.
const TIMES_EACH: usize = 3;

fn fill(sandbox: &Sandbox) {
    let recipes: [(&str, &str); 10] = [
        ("mp4-faststart", "mp4.tmp_extension"),
        ("mp4-faststart", "mp4"),
        ("mp4", "mp4.tmp"),
        ("mp4-fragmented", "mp4"),
        ("flv", "flv.tmp"),
        ("flv", "flv"),
        ("ts", "ts"),
        ("mkv", "mkv"),
        ("webm", "webm"),
        ("webm-live", "webm.tmp_extension"),
    ];
    for (n, (recipe, extension)) in recipes.iter().enumerate() {
        for copy in 0..3 {
            sandbox.put(&made(recipe, 2), &format!("room{n}/take{copy}-{n}.{extension}"));
        }
    }
    for copy in 0..2 {
        sandbox.put(&cut(&made("ts", 2), 0.7), &format!("cut/ts{copy}.ts"));
        sandbox.put(&cut(&made("flv", 2), 0.7), &format!("cut/flv{copy}.flv.tmp"));
        sandbox.put(&cut(&made("webm-vp9", 2), 0.7), &format!("cut/webm{copy}.webm.tmp"));
        // Nothing else here is coded like it, so nothing can teach what it needs.
        sandbox.put(&without_moov(&made("mp4-h265", 2)), &format!("lost/crashed{copy}.mp4.tmp"));
    }
    fs::write(sandbox.root().join("lost/empty.mp4"), "").unwrap();
    fs::write(sandbox.root().join("lost/noise.mp4"), [0x5A; 4096]).unwrap();
}

const RECORDINGS: usize = 40;
const QUARANTINED: [&str; 4] = ["lost/crashed0.mp4.tmp", "lost/crashed1.mp4.tmp", "lost/empty.mp4", "lost/noise.mp4"];

fn filled_house() -> Sandbox {
    let more = "[finish]\njobs = 1\n[retain]\ndelete_local = \"delivered\"";
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, more));
    fill(&sandbox);
    assert_eq!(tree(&sandbox.root()).len(), RECORDINGS);
    sandbox
}

/// Runs `recover` (temporary names count as orphaned) with the seam's log; killed after an operation, if one is named.
fn run(sandbox: &Sandbox, kill_after: Option<&str>) -> (bool, Vec<String>) {
    let log = sandbox.path().join("steps.log");
    let _ = fs::remove_file(&log);
    let root = sandbox.root();
    let mut command = sandbox.command(&["recover", root.to_str().unwrap()]);
    command.env("AFTERCAST_STEP_LOG", &log);
    if let Some(operation) = kill_after {
        command.env("AFTERCAST_KILL_AFTER", operation);
    }
    let output = command.output().unwrap();
    let steps = fs::read_to_string(&log).unwrap_or_default();
    let steps = steps.lines().filter_map(|l| l.split_once(' ')).map(|(_, name)| name.to_owned()).collect();
    let was_killed = output.status.signal() == Some(9);
    if !was_killed {
        let code = output.status.code();
        assert_eq!(code, Some(4), "only the quarantined fail: {}", String::from_utf8_lossy(&output.stderr));
    }
    (was_killed, steps)
}

/// What a finished house holds: id → (vod name, digest of the object in the store).
fn holdings(sandbox: &Sandbox) -> BTreeMap<String, (String, String)> {
    let store = tree(&sandbox.store());
    let vods = sandbox.vods();
    let holdings: BTreeMap<_, _> = vods
        .iter()
        .map(|vod| {
            let key = vod["remote"][0]["key"].as_str().unwrap_or_else(|| panic!("not delivered: {vod}"));
            let object = store.get(key).unwrap_or_else(|| panic!("no object {key}"));
            (vod["vodId"].as_str().unwrap().to_owned(), (vod["vodName"].as_str().unwrap().to_owned(), object.3.clone()))
        })
        .collect();
    assert_eq!(holdings.len(), vods.len(), "a VoD is there twice");
    assert_eq!(store.len(), vods.len(), "objects without a VoD: {:?}", store.keys());
    holdings
}

fn assert_nothing_lost(sandbox: &Sandbox, expected: &BTreeMap<String, (String, String)>, when: &str) {
    assert_eq!(&holdings(sandbox), expected, "{when}");
    for vod in sandbox.vods() {
        assert!(vod["freedAt"].is_number(), "{when}: delivered and not noted as freed: {vod}");
    }
    let left = tree(&sandbox.root());
    for name in QUARANTINED {
        assert!(left.contains_key(name), "{when}: {name} is gone");
    }
    let partials: Vec<_> = left.keys().filter(|n| n.contains(".aftercast-") || n.contains(".partial")).collect();
    assert!(partials.is_empty(), "{when}: {partials:?}");
}

/// For each transition, occurrences that are spread over the run: an early, a middle and a late one, or more.
fn picks(steps: &[String]) -> BTreeMap<&str, BTreeSet<usize>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for step in steps {
        *counts.entry(step).or_default() += 1;
    }
    let spread = |count: usize| (0..TIMES_EACH).map(move |n| 1 + n * (count - 1) / (TIMES_EACH - 1)).collect();
    counts.into_iter().map(|(name, count)| (name, spread(count))).collect()
}

#[test]
fn a_kill_after_any_operation_loses_nothing_and_repeats_nothing() {
    let calm = filled_house();
    let (_, steps) = run(&calm, None);
    let expected = holdings(&calm);
    assert_eq!(expected.len(), RECORDINGS - QUARANTINED.len());
    assert_nothing_lost(&calm, &expected, "without a kill");

    for (transition, occurrences) in picks(&steps) {
        let mut hits = 0;
        // Once more for each that the run ended before; couriers and finishing threads do not always take turns alike.
        let again = std::iter::repeat_n(1..=TIMES_EACH, 3).flatten();
        for occurrence in occurrences.into_iter().chain(again) {
            hits += usize::from(killed_and_started_again(&format!("{transition}:{occurrence}"), &expected));
            if hits == TIMES_EACH {
                break;
            }
        }
        println!("{hits} kills after: {transition}");
        assert_eq!(hits, TIMES_EACH, "`{transition}`");
    }
}

/// A directory on a file system of a kind of its own, unmounted when dropped.
enum Mounted {
    Image(Image),
    InMemory(tempfile::TempDir),
}

impl Mounted {
    fn in_memory() -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        let run =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "none"]).arg(dir.path()).output().unwrap();
        if run.status.success() {
            Ok(Self::InMemory(dir))
        } else {
            Err(String::from_utf8_lossy(&run.stderr).trim().to_owned())
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Image(image) => image.path(),
            Self::InMemory(dir) => dir.path().to_owned(),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Self::InMemory(dir) = self {
            let _ = Command::new("umount").arg("-l").arg(dir.path()).output();
        }
    }
}

/// What is changed where it stands, each way of retiring the old header once: cut off, overwritten, left inside.
const SPLICES: [&str; 3] = ["last", "behind", "fragmented"];

fn house_of_splices(parent: &Path, splices: &[&str]) -> Sandbox {
    let sandbox =
        Sandbox::with_config_in(parent, |dir| standard_config(dir, "[finish]\njobs = 1\nsplice = \"insert_range\""));
    for splice in splices {
        let recipe = if *splice == "fragmented" { "mp4-fragmented" } else { "mp4" };
        let path = sandbox.put(&made(recipe, 2), &format!("{splice}/{splice}.mp4.tmp"));
        if *splice == "behind" {
            let bytes = [&fs::read(&path).unwrap()[..], b"\0\0\0\x0Cskiprest"].concat();
            fs::write(&path, bytes).unwrap();
        }
    }
    sandbox
}

/// The digest of each recording by its name, and how many VoDs there are.
fn finished(sandbox: &Sandbox) -> (BTreeMap<String, String>, usize) {
    let files = tree(&sandbox.root()).into_iter().map(|(name, (.., digest))| (name, digest)).collect();
    (files, sandbox.vods().len())
}

/// The process dies after each single operation of a run over the splices; returns the operations.
fn killed_after_each(mounted: &Mounted, splices: &[&str]) -> BTreeSet<String> {
    let recovered = |sandbox: &Sandbox, kill_after: Option<&str>| {
        let log = sandbox.path().join("steps.log");
        let _ = fs::remove_file(&log);
        let root = sandbox.root();
        let mut command = sandbox.command(&["recover", root.to_str().unwrap()]);
        command.env("AFTERCAST_STEP_LOG", &log).envs(kill_after.map(|n| ("AFTERCAST_KILL_AFTER", n)));
        let output = command.output().unwrap();
        let steps = fs::read_to_string(&log).unwrap_or_default();
        let steps: Vec<_> = steps.lines().filter_map(|l| l.split_once(' ')).map(|(_, name)| name.to_owned()).collect();
        (output, steps)
    };
    let calm = house_of_splices(&mounted.path(), splices);
    let (output, steps) = recovered(&calm, None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = finished(&calm);
    assert_eq!((expected.0.len(), expected.1), (splices.len(), splices.len()));
    drop(calm);
    for n in 1..=steps.len() {
        let sandbox = house_of_splices(&mounted.path(), splices);
        let (killed, _) = recovered(&sandbox, Some(&n.to_string()));
        if killed.status.success() {
            // Recordings that end together share a flush: this run had fewer operations than the calm one.
            assert!(2 * n > steps.len(), "ended before operation {n}, {}", steps[n - 1]);
            assert_eq!(finished(&sandbox), expected, "not killed");
            continue;
        }
        assert_eq!(killed.status.signal(), Some(9), "after {n}, {}", steps[n - 1]);
        let (again, _) = recovered(&sandbox, None);
        let when = format!("killed after {n}, {}", steps[n - 1]);
        assert!(again.status.success(), "{when}: {}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(finished(&sandbox), expected, "{when}");
    }
    steps.into_iter().collect()
}

const IN_PLACE: [&str; 7] = [
    "journal splicing",
    "range inserted",
    "written in place",
    "data synced in place",
    "synced in place",
    "truncated in place",
    "time set in place",
];

#[test]
fn a_kill_after_each_operation_of_a_splice_in_place_is_mended_by_the_next_start() {
    let Some(image) = Image::mount("ext4", 64, &[]) else { return };
    let steps = killed_after_each(&Mounted::Image(image), &SPLICES);
    for step in IN_PLACE {
        assert!(steps.contains(step), "no `{step}` in {steps:?}");
    }
}

/// There are leases on tmpfs, and nothing is inserted: a copy takes the place of the splice.
#[test]
fn a_kill_after_each_operation_is_mended_where_nothing_can_be_inserted() {
    let mounted = match Mounted::in_memory() {
        Ok(mounted) => mounted,
        Err(why) => {
            println!("skipped: no tmpfs here: {why}");
            return;
        }
    };
    let steps = killed_after_each(&mounted, &SPLICES[..1]);
    assert!(steps.contains("partial written") && !steps.contains("range inserted"), "{steps:?}");
}

fn remove_partials(sandbox: &Sandbox) {
    for name in tree(&sandbox.root()).keys().filter(|name| name.contains(".aftercast-")) {
        fs::remove_file(sandbox.root().join(name)).unwrap();
    }
}

/// What a cut left is carried on by the next start, which is cut itself after each of its operations.
#[test]
fn a_kill_after_each_operation_of_a_start_that_carries_on_is_mended_by_the_one_after_it() {
    let mut seen = BTreeSet::new();
    // The last one with the complete file gone: the journey is taken back to its beginning.
    for (recipe, name, first, loses_partial) in [
        ("ts", "room1.ts", "journal publishing:1", false),
        ("ts", "room1.ts", "renamed:1", false),
        ("ts", "room1.ts", "vod catalogued:1", false),
        ("mp4", "room1.mp4", "journal publishing:1", false),
        ("ts", "room1.ts", "journal publishing:1", true),
    ] {
        let filled = || {
            let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[finish]\njobs = 1"));
            sandbox.put(&made(recipe, 2), name);
            sandbox
        };
        let calm = filled();
        assert!(!carried_on(&calm, None).0);
        let expected = finished(&calm);
        assert_eq!((expected.0.len(), expected.1), (1, 1));
        let cut = || {
            let sandbox = filled();
            assert!(carried_on(&sandbox, Some(first)).0, "{first}");
            if loses_partial {
                remove_partials(&sandbox);
            }
            sandbox
        };
        let (_, steps) = carried_on(&cut(), None);
        for n in 1..=steps.len() {
            let sandbox = cut();
            carried_on(&sandbox, Some(&n.to_string()));
            assert!(!carried_on(&sandbox, None).0);
            let when = format!("killed after {first} (lost: {loses_partial}), then after {n}, {}", steps[n - 1]);
            assert_eq!(finished(&sandbox), expected, "{when}");
        }
        seen.extend(steps);
    }
    for step in ["journal taken back", "source cleared", "vod catalogued", "renamed"] {
        assert!(seen.contains(step), "no `{step}` in {seen:?}");
    }
}

/// Recovers everything with the seam's log; returns whether it was killed, and what it did.
fn carried_on(sandbox: &Sandbox, kill_after: Option<&str>) -> (bool, Vec<String>) {
    let log = sandbox.path().join("steps.log");
    let _ = fs::remove_file(&log);
    let root = sandbox.root();
    let mut command = sandbox.command(&["recover", root.to_str().unwrap()]);
    command.env("AFTERCAST_STEP_LOG", &log).envs(kill_after.map(|n| ("AFTERCAST_KILL_AFTER", n)));
    let output = command.output().unwrap();
    let was_killed = output.status.signal() == Some(9);
    assert!(was_killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let steps = fs::read_to_string(&log).unwrap_or_default();
    (was_killed, steps.lines().filter_map(|l| l.split_once(' ')).map(|(_, name)| name.to_owned()).collect())
}

/// Returns whether the process died there, or ended before it came so far.
fn killed_and_started_again(operation: &str, expected: &BTreeMap<String, (String, String)>) -> bool {
    let sandbox = filled_house();
    let (was_killed, _) = run(&sandbox, Some(operation));
    assert!(!run(&sandbox, None).0);
    assert_nothing_lost(&sandbox, expected, &format!("killed after {operation}"));
    was_killed
}
