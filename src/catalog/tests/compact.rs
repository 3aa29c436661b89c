//! A database that is copied into a fresh one: nothing is lost, wherever it is cut.

use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::super::compact::CompactionLimits;
use super::super::tree::TreeId;
use super::*;

const STATE_DIR: &str = "AFTERCAST_TEST_STATE_DIR";
const VODS: u64 = 60;

fn never() -> bool {
    false
}

/// Compacts whatever is there.
fn limits() -> CompactionLimits<'static> {
    CompactionLimits { least_bytes: 1, patience: Duration::from_secs(600), is_stopped: &never }
}

/// A closed state directory in which every tree holds something, and the recordings that are done.
fn filled() -> (TestCatalog, Vec<VodRecord>) {
    let mut home = TestCatalog::new();
    let vods = (0..VODS).map(|n| catalogue(&home, &format!("room{n}"), n, i64::try_from(n).unwrap())).collect();
    let open = attempt(&home, &settled("open", 1_000), 1);
    home.reserve_name(Path::new("/srv/open.mp4"), &open).unwrap();
    let quarantined = attempt(&home, &settled("bad", 1_001), 1);
    home.advance(&quarantined, Stage::Begun, Step::Quarantined { defects: Vec::new() }, 2).unwrap();
    home.leave_out(&[candidate("old", 1_002)], 3).unwrap();
    let long = Step::Failed { class: crate::fault::Class::Permanent, message: "x".repeat(200_000), due_ms: None };
    let failed = attempt(&home, &settled("long", 1_003), 1);
    home.advance(&failed, Stage::Begun, long, 4).unwrap();
    home.close();
    (home, vods)
}

/// Every row, but for the entries that are done, and what the compaction itself notes.
fn rows(catalog: &Catalog) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    for tree in TreeId::ALL {
        for row in catalog.store().prefix(tree, b"").unwrap() {
            let (key, value) = row.unwrap();
            let is_done = tree == TreeId::Journal
                && JournalKey::from_stored(&key)
                    .is_some_and(|key| matches!(catalog.entry(&key).unwrap().unwrap().step, Step::Done { .. }));
            let is_source = tree == TreeId::Known && value.first() == Some(&index::SOURCE);
            if !is_done && !is_source && tree != TreeId::Meta {
                rows.push((tree.name(), key.to_vec(), value.to_vec()));
            }
        }
    }
    rows
}

fn assert_whole(catalog: &Catalog, vods: &[VodRecord], expected: &[(&'static str, Vec<u8>, Vec<u8>)]) {
    assert!(!catalog.is_behind());
    assert!(catalog.check(false).unwrap().is_sound());
    assert_eq!(rows(catalog), expected);
    for vod in vods {
        let known = catalog.knows(&vod.source_path, &vod.source).unwrap();
        assert_eq!(known, KnownFile::Source { vod_id: vod.vod_id.clone() });
        let again = settled(&vod.stream_id, vod.source.inode);
        assert_eq!(catalog.begin(&again, 99).unwrap(), BeginOutcome::Known(known));
    }
}

#[test]
fn a_compacted_database_is_smaller_and_holds_the_same() {
    let (mut home, vods) = filled();
    home.restart();
    let expected = rows(&home);
    let before = home.entries(None, usize::MAX).unwrap().items.len();
    home.close();
    home.catalog = Some(Catalog::open_within(&home.state_dir(), limits()).unwrap());
    assert_whole(&home, &vods, &expected);
    let after = home.entries(None, usize::MAX).unwrap().items.len();
    assert_eq!(before - after, vods.len(), "entries that are done are rows of `known`");
    assert!(!home.state_dir().join("catalog.compacting").exists());
    // It goes on as before, and what is done again may be forgotten.
    catalogue(&home, "later", 5_000, 9);
    let source = JournalKey::of(&vods[0].source_path, &vods[0].source);
    home.forget(&source).unwrap();
    home.restart();
    assert_eq!(home.knows(&vods[0].source_path, &vods[0].source).unwrap(), KnownFile::Unknown);
    assert_eq!(home.shared().count().unwrap() as u64, VODS + 1);
    assert!(!home.is_behind());
}

#[test]
fn a_database_is_compacted_again_only_when_it_has_grown() {
    let (mut home, _) = filled();
    let inode = |home: &TestCatalog| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(home.state_dir().join("catalog")).unwrap().ino()
    };
    let open = |home: &mut TestCatalog| {
        home.close();
        home.catalog = Some(Catalog::open_within(&home.state_dir(), limits()).unwrap());
    };
    let made = inode(&home);
    home.restart();
    assert_eq!(inode(&home), made, "an opening that does not ask for it leaves it alone");
    open(&mut home);
    let compacted = inode(&home);
    assert_ne!(compacted, made);
    // A flush makes the note of its size durable.
    catalogue(&home, "one", 7_000, 9);
    open(&mut home);
    assert_eq!(inode(&home), compacted);
    for n in 0..600 {
        catalogue(&home, &format!("more{n}"), 10_000 + n, 9);
    }
    open(&mut home);
    assert_ne!(inode(&home), compacted);
}

#[test]
fn a_compaction_that_may_not_go_on_leaves_the_database_as_it_is() {
    let (mut home, vods) = filled();
    home.restart();
    let expected = rows(&home);
    home.close();
    let refusals = [
        CompactionLimits { patience: Duration::ZERO, ..limits() },
        CompactionLimits { is_stopped: &|| true, ..limits() },
        CompactionLimits { least_bytes: u64::MAX, ..limits() },
    ];
    for limits in refusals {
        // Forget what a refusal before this one noted.
        home.restart();
        home.store().transact(|tx| tx.remove(TreeId::Meta, b"compacted_bytes")).unwrap();
        home.store().flush("forgotten").unwrap();
        home.close();
        home.catalog = Some(Catalog::open_within(&home.state_dir(), limits).unwrap());
        assert_whole(&home, &vods, &expected);
        assert_eq!(home.entries(None, usize::MAX).unwrap().items.len(), vods.len() + 4);
        assert!(!home.state_dir().join("catalog.compacting").exists());
        home.close();
    }
}

/// A database that is known to have lost something is evidence: it is not touched, nor what may lie beside it.
#[test]
fn a_database_that_is_behind_is_not_compacted() {
    let (mut home, _) = filled();
    std::fs::write(home.state_dir().join("catalog.flushes"), b"0123456789abcdef").unwrap();
    std::fs::create_dir(home.state_dir().join("catalog.compacting")).unwrap();
    home.catalog = Some(Catalog::open_within(&home.state_dir(), limits()).unwrap());
    assert!(home.is_behind());
    assert!(home.state_dir().join("catalog.compacting").exists());
    assert_eq!(home.entries(None, usize::MAX).unwrap().items.len() as u64, VODS + 4);
}

/// Compacts, and is killed at the step that the environment names.
#[test]
#[ignore = "the victim of the test below"]
fn victim() {
    let Some(state_dir) = std::env::var_os(STATE_DIR) else { return };
    drop(Catalog::open_within(Path::new(&state_dir), limits()).unwrap());
}

fn killed_at(step: &str, state_dir: &Path) -> ExitStatus {
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "catalog::tests::compact::victim", "--ignored"]);
    victim.env(STATE_DIR, state_dir).env("AFTERCAST_KILL_AFTER", step).stdout(Stdio::null()).stderr(Stdio::null());
    victim.status().unwrap()
}

#[test]
fn a_kill_at_any_step_of_a_compaction_loses_nothing() {
    let (home, vods) = filled();
    let expected = {
        let mut whole = copy_of(&home);
        whole.restart();
        rows(&whole)
    };
    let steps = [
        "compaction copied",
        "compaction durable",
        "compaction exchanged",
        "compaction synced",
        "compaction cleaned up",
    ];
    for step in steps {
        let mut cut = copy_of(&home);
        assert!(!killed_at(&format!("{step}:1"), &cut.state_dir()).success(), "{step} was not reached");
        let left = cut.state_dir().join("catalog.compacting");
        assert_eq!(left.exists(), step != "compaction cleaned up", "{step}");
        cut.restart();
        assert_whole(&cut, &vods, &expected);
        assert!(!left.exists(), "{step}");
    }
}

/// Also in the middle of the copying, where the copy is any part of one.
#[test]
fn a_kill_while_the_copy_is_written_loses_nothing() {
    let (mut home, vods) = filled();
    home.restart();
    let expected = rows(&home);
    home.close();
    let copy = home.state_dir().join("catalog.compacting");
    copy_directory(&home.state_dir().join("catalog"), &copy);
    let db = std::fs::File::options().write(true).open(copy.join("db")).unwrap();
    db.set_len(db.metadata().unwrap().len() / 3).unwrap();
    home.catalog = Some(Catalog::open_within(&home.state_dir(), limits()).unwrap());
    assert_whole(&home, &vods, &expected);
    assert!(!copy.exists());
}
