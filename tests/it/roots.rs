//! To which node a root belongs: a disk that comes back on another node, a node that wakes after its root was adopted, and what
//! happens while the database is away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fleet::{listed, node, pairs, record, section, status, until_connected, until_listed, until_told};
use crate::support::daemon::{Daemon, until};
use crate::support::postgres::Postgres;
use crate::support::{Sandbox, standard_config};

/// A node whose root is any directory.
fn node_at(postgres: &Postgres, name: &str, root: &Path, more: &str) -> Sandbox {
    Sandbox::with_config(|dir| {
        let own = format!("{}/root", dir.display());
        let config = standard_config(dir, &section(postgres, name, "")).replace(&own, &root.display().to_string());
        config.replace("quiet = \"1s\"", "quiet = \"1s\"\nrescan = \"1s\"") + more
    })
}

/// The disk of a node as it is on another machine: a copy with other inodes.
pub(super) fn moved(from: &Path) -> tempfile::TempDir {
    let there = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(there.path()).status().unwrap();
    assert!(copied.success());
    there
}

/// As if 30 s had passed: only the clock of the database counts.
fn is_dead(postgres: &Postgres, name: &str) {
    until("the node counts as dead", || {
        postgres.silence(name);
        let active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aftercast' AND state <> 'idle'";
        (postgres.sql(active) == "0").then_some(())
    });
}

fn refusal(at: &Sandbox) -> String {
    status(at)["roots"][0]["refusal"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn until_refused(at: &Sandbox, words: &str) {
    until(words, || refusal(at).contains(words).then_some(()));
}

#[track_caller]
fn until_watched(at: &Sandbox) {
    until("the root is watched", || {
        (status(at)["fleet"]["isConnected"] == true && refusal(at).is_empty()).then_some(())
    });
}

fn marker(root: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(root.join(".aftercast-root")).unwrap()).unwrap()
}

fn ids(at: &Sandbox) -> Vec<String> {
    let said = at.run(&["--json", "vod", "list", "--limit", "1000"]).expect_code(0).json_lines();
    let mut ids: Vec<_> = said.iter().map(|vod| vod["vodId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// The node of the only root, and how often it has had another one.
fn owner(postgres: &Postgres) -> String {
    let sql = "SELECT n.name, r.owner_epoch FROM aftercast.root r JOIN aftercast.node n ON n.node_id = r.owner";
    postgres.try_sql(sql).unwrap_or_default()
}

/// The node `old` with one recording, which the database knows.
fn with_one(postgres: &Postgres) -> (Sandbox, Daemon) {
    let old = node(postgres, "old");
    let daemon = Daemon::start(&old);
    record(&old, "one.mp4");
    until_listed(&old, &[("old", "one.mp4")]);
    until_told(&old);
    (old, daemon)
}

#[test]
fn a_disk_that_comes_back_on_another_node_is_adopted_with_its_vods() {
    let postgres = Postgres::start();
    let old = node(&postgres, "old");
    let daemon = Daemon::start(&old);
    record(&old, "one.mp4");
    record(&old, "two.mp4");
    until_listed(&old, &[("old", "one.mp4"), ("old", "two.mp4")]);
    until_told(&old);
    until("the root is the old node's", || (owner(&postgres) == "old|1").then_some(()));
    let before = ids(&old);
    until("it is delivered", || old.store().join("one.mp4").exists().then_some(()));
    let disk = moved(&old.root());
    let new = node_at(&postgres, "new", disk.path(), "");
    let adopting = Daemon::start(&new);
    // Its node is alive: nothing is touched, and nothing can be adopted.
    until_refused(&new, "belongs to the node `old`, which is running");
    let refused = new.run(&["adopt", disk.path().to_str().unwrap(), "--yes"]);
    assert!(refused.code() != 0 && refused.err.contains("which is running"), "{}", refused.err);
    assert_eq!(marker(disk.path())["nodeId"], marker(&old.root())["nodeId"], "the root is as it was");
    fs::write(disk.path().join("three.mp4"), crate::support::recordings::padded("three", 0)).unwrap();
    daemon.stop();
    until_refused(&new, "belongs to the node `old`, which is not running");
    assert_eq!(listed(&new, &["--node", "this"]), pairs(&[]), "not adopted yet");
    let doctor = new.run(&["doctor"]).expect_code(5);
    assert!(doctor.out.contains(&format!("aftercast adopt {}", disk.path().display())), "{}", doctor.out);
    let shown = new.run(&["adopt", disk.path().to_str().unwrap()]).expect_code(0);
    assert!(
        shown.out.contains("belongs to the node `old`") && shown.err.contains("--yes"),
        "{}{}",
        shown.out,
        shown.err
    );
    assert_eq!(owner(&postgres), "old|1", "only shown");
    new.run(&["adopt", disk.path().to_str().unwrap(), "--yes"]).expect_code(0);
    assert_eq!(owner(&postgres), "new|2");
    assert_eq!(marker(disk.path())["ownerEpoch"], 2);
    until_listed(&new, &[("new", "one.mp4"), ("new", "two.mp4"), ("new", "three.mp4")]);
    until("they are in the new node's catalogue", || (listed(&new, &["--node", "this"]).len() == 3).then_some(()));
    until_told(&new);
    let after = ids(&new);
    assert!(after.len() == 3 && before.iter().all(|id| after.contains(id)), "{before:?} {after:?}");
    // The old node comes back with its own copy of the disk, and is told that it lost it.
    let daemon = Daemon::start(&old);
    until_refused(&old, "belongs to the node `new`, which is running");
    for id in &before {
        let refused = old.run(&["vod", "delete", id, "--yes"]);
        assert!(refused.code() != 0 && refused.err.contains("belongs to the node `new`"), "{}", refused.err);
    }
    assert!(old.store().join("one.mp4").exists(), "the objects are the new node's");
    record(&old, "four.mp4");
    until_told(&old);
    assert_eq!(ids(&new), after, "what it tells of its copy is not listed");
    assert!(old.root().join("four.mp4").exists() && !old.store().join("four.mp4").exists());
    daemon.stop();
    adopting.stop();
}

/// More than are moved in one transaction, and of many the new node has a VoD with the same id already.
#[test]
fn a_root_with_thousands_of_vods_of_which_the_new_node_has_some_is_adopted() {
    let postgres = Postgres::start();
    let (old, daemon) = with_one(&postgres);
    daemon.stop();
    let disk = moved(&old.root());
    let new = node_at(&postgres, "new", disk.path(), "");
    let adopting = Daemon::start(&new);
    until_refused(&new, "belongs to the node `old`, which is not running");
    until_connected(&new);
    let copies = |name: &str, from: u32, to: u32| {
        postgres.sql(&format!(
            "INSERT INTO aftercast.vod SELECT (jsonb_populate_record(v, jsonb_build_object('vod_id', 'copy' || k, \
             'node_id', (SELECT node_id FROM aftercast.node WHERE name = '{name}')))).* \
             FROM aftercast.vod v, generate_series({from}, {to}) k WHERE v.vod_id NOT LIKE 'copy%'"
        ));
    };
    copies("old", 1, 5_000);
    copies("new", 2_001, 4_500);
    new.run(&["adopt", disk.path().to_str().unwrap(), "--yes"]).expect_code(0);
    let of = |name: &str| {
        postgres.sql(&format!(
            "SELECT count(*), count(DISTINCT vod_id) FROM aftercast.vod JOIN aftercast.node n USING (node_id) \
             WHERE n.name = '{name}' AND vod_id LIKE 'copy%'"
        ))
    };
    assert_eq!((of("new"), of("old")), ("5000|5000".to_owned(), "0|0".to_owned()));
    assert_eq!(postgres.sql("SELECT bool_and(is_moved) FROM aftercast.root_former"), "t");
    adopting.stop();
}

/// What the database says of a node, in all ways in which it is asked.
fn is_alive(at: &Sandbox, name: &str, disk: &Path) -> [bool; 2] {
    let nodes = at.run(&["--json", "vod", "list", "--node", name]).expect_code(0).json_lines();
    let adopting = at.run(&["adopt", disk.to_str().unwrap()]);
    [nodes[0]["node"]["isAlive"] == true, adopting.err.contains("which is running")]
}

#[test]
fn nobody_counts_as_dead_for_the_time_in_which_the_database_was_away() {
    let postgres = Postgres::start();
    let (old, daemon) = with_one(&postgres);
    until("the root is the old node's", || (owner(&postgres) == "old|1").then_some(()));
    let disk = moved(&old.root());
    let new = node_at(&postgres, "new", disk.path(), "");
    let watching = Daemon::start(&new);
    until_refused(&new, "belongs to the node `old`, which is running");
    assert_eq!(is_alive(&new, "old", disk.path()), [true; 2]);
    daemon.signal("STOP");
    // After an outage nobody was heard of for a lease, and who is dead cannot be told from who is slow to connect again.
    let silent = "UPDATE aftercast.node SET seen_at = now() - interval '2 hours' WHERE name = 'old'";
    let lease = |lease: &str| postgres.sql(&format!("{silent}; UPDATE aftercast.meta SET lease = '{lease}'"));
    lease("1 hour");
    assert_eq!(is_alive(&new, "old", disk.path()), [true; 2], "the database was started less than an hour ago");
    lease("1 second");
    until("it counts as dead", || (is_alive(&new, "old", disk.path()) == [false; 2]).then_some(()));
    // The lease in the database counts, for every question.
    lease("1 day");
    assert_eq!(is_alive(&new, "old", disk.path()), [true; 2]);
    drop(daemon);
    watching.stop();
}

#[test]
fn a_node_that_wakes_after_its_root_was_adopted_changes_and_delivers_nothing_there() {
    let postgres = Postgres::start();
    let old = node(&postgres, "old");
    // In the middle of an upload that the store does not take yet.
    let store = old.store();
    fs::remove_dir(&store).unwrap();
    fs::write(&store, "no directory").unwrap();
    let daemon = Daemon::start(&old);
    record(&old, "one.mp4");
    until_listed(&old, &[("old", "one.mp4")]);
    until_told(&old);
    daemon.signal("STOP");
    let stopped = Instant::now();
    is_dead(&postgres, "old");
    let disk = moved(&old.root());
    let new = node_at(&postgres, "new", disk.path(), "");
    let adopting = Daemon::start(&new);
    until_refused(&new, "belongs to the node `old`, which is not running");
    new.run(&["adopt", disk.path().to_str().unwrap(), "--yes"]).expect_code(0);
    until_listed(&new, &[("new", "one.mp4")]);
    fs::remove_file(&store).unwrap();
    fs::create_dir(&store).unwrap();
    fs::write(old.root().join("two.mp4"), crate::support::recordings::padded("two", 0)).unwrap();
    // By its own clock, too, what it was told last must not count any more.
    until("it was suspended for longer than a lease", || (stopped.elapsed() > Duration::from_secs(31)).then_some(()));
    daemon.signal("CONT");
    until_refused(&old, "belongs to the node `new`");
    old.run(&["queue", "retry"]);
    old.run(&["rescan"]);
    old.run(&["retain"]);
    until_told(&old);
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0, "it delivers nothing: {}", daemon.log());
    assert_eq!(listed(&new, &[]), pairs(&[("new", "one.mp4")]), "listed once");
    assert_eq!(listed(&old, &["--node", "this"]), pairs(&[("", "one.mp4")]), "nothing new is finished there");
    assert!(old.root().join("two.mp4").exists() && old.root().join("one.mp4").exists());
    daemon.stop();
    adopting.stop();
}

/// Where a file system has no locks two nodes may see one directory. The one whose file it no longer is leaves it alone also without
/// the database.
#[test]
fn a_node_that_cannot_ask_the_database_finds_another_name_in_its_root() {
    let mut postgres = Postgres::start();
    let old = Sandbox::with_config(|dir| {
        let config = standard_config(dir, &section(&postgres, "old", "[retain]\ndelete_local = \"delivered\"\n"));
        config.replace("quiet = \"1s\"", "quiet = \"1s\"\nrescan = \"1s\"")
    });
    let daemon = Daemon::start(&old);
    until("the root is the old node's", || (owner(&postgres) == "old|1").then_some(()));
    until_connected(&old);
    postgres.stop_immediately();
    until("the database is away", || (status(&old)["fleet"]["isConnected"] == false).then_some(()));
    // Its own root is worked on as ever, also freed.
    record(&old, "one.mp4");
    until("it is delivered and freed", || {
        (old.store().join("one.mp4").exists() && !old.root().join("one.mp4").exists()).then_some(())
    });
    let mut other = marker(&old.root());
    other["nodeId"] = "8e3bd5f6-2c7e-4d5a-9f65-0c7d1f4b8a11".into();
    fs::write(old.root().join(".aftercast-root"), other.to_string()).unwrap();
    until_refused(&old, "names another node");
    record(&old, "two.mp4");
    old.run(&["rescan"]);
    assert!(old.root().join("two.mp4").exists() && !old.store().join("two.mp4").exists());
    postgres.begin();
    // The database knows better.
    until_watched(&old);
    until("it is delivered and freed", || {
        (old.store().join("two.mp4").exists() && !old.root().join("two.mp4").exists()).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_copy_of_a_root_becomes_a_root_of_its_own_without_its_file() {
    let postgres = Postgres::start();
    let old = node(&postgres, "old");
    let daemon = Daemon::start(&old);
    until("the root is the old node's", || (owner(&postgres) == "old|1").then_some(()));
    let disk = moved(&old.root());
    let copy = node_at(&postgres, "copy", disk.path(), "");
    let copied = Daemon::start(&copy);
    until_refused(&copy, "belongs to the node `old`, which is running");
    let hint = copy.run(&["doctor"]).expect_code(5).out;
    assert!(hint.contains("delete") && hint.contains(".aftercast-root"), "{hint}");
    copied.stop();
    fs::remove_file(disk.path().join(".aftercast-root")).unwrap();
    let copied = Daemon::start(&copy);
    fs::write(disk.path().join("two.mp4"), crate::support::recordings::padded("two", 0)).unwrap();
    until_listed(&copy, &[("copy", "two.mp4")]);
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.root"), "2");
    copied.stop();
    daemon.stop();
}

#[test]
fn a_root_with_the_file_of_another_root_is_left_alone_until_that_is_deleted() {
    let postgres = Postgres::start();
    let member = Sandbox::with_config(|dir| {
        let config = standard_config(dir, &section(&postgres, "a", ""));
        let roots = format!("roots = [\"{0}/root\", \"{0}/second\"]", dir.display());
        config.replace(&format!("roots = [\"{}/root\"]", dir.display()), &roots)
    });
    let second = member.path().join("second");
    fs::create_dir(&second).unwrap();
    let daemon = Daemon::start(&member);
    until_connected(&member);
    daemon.stop();
    fs::copy(member.root().join(".aftercast-root"), second.join(".aftercast-root")).unwrap();
    let daemon = Daemon::start(&member);
    until("the copy is found out", || {
        let refusal = status(&member)["roots"][1]["refusal"].to_string();
        refusal.contains("belongs to the root").then_some(())
    });
    assert_eq!(refusal(&member), "", "the other one is worked on");
    daemon.stop();
    fs::remove_file(second.join(".aftercast-root")).unwrap();
    let daemon = Daemon::start(&member);
    fs::write(second.join("one.mp4"), crate::support::recordings::padded("one", 0)).unwrap();
    until_listed(&member, &[("a", "one.mp4")]);
    daemon.stop();
}

#[test]
fn what_cannot_be_adopted_is_said() {
    let postgres = Postgres::start();
    let alone = Sandbox::with_config(|dir| standard_config(dir, ""));
    let daemon = Daemon::start(&alone);
    let said = alone.run(&["adopt", alone.root().to_str().unwrap()]);
    assert!(said.code() == 2 && said.err.contains("[fleet] database"), "{}", said.err);
    daemon.stop();
    let member = node(&postgres, "a");
    let said = member.run(&["adopt", member.root().to_str().unwrap()]);
    assert!(said.code() == 2 && said.err.contains("no daemon is watching"), "{}", said.err);
    let daemon = Daemon::start(&member);
    until_connected(&member);
    let elsewhere: PathBuf = member.path().join("store");
    let said = member.run(&["adopt", elsewhere.to_str().unwrap()]);
    assert!(said.code() != 0 && said.err.contains("not a configured root"), "{}", said.err);
    daemon.stop();
}
