//! One directory, several daemons: each recording is finished once, whoever dies or sleeps meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::fleet::{section, status, until_connected};
use super::units::unit_in;
use crate::support::daemon::{Daemon, is_suspended, until};
use crate::support::postgres::Postgres;
use crate::support::recordings::{made, padded, without_moov};
use crate::support::{RunOutput, Sandbox, behind, standard_config, tree};

const RECORDINGS: usize = 60;

/// A node that shares a directory.
pub(super) fn sharing(postgres: &Postgres, name: &str, root: &Path, of_root: &str) -> Sandbox {
    Sandbox::with_config(|dir| {
        let own = standard_config(dir, &section(postgres, name, ""));
        let roots = own.lines().find(|line| line.starts_with("roots")).unwrap().to_owned();
        let own = own.replace(&roots, "").replace("quiet = \"1s\"", "quiet = \"1s\"\nrescan = \"1s\"");
        format!("{own}\n[[watch.root]]\npath = \"{}\"\nshared = true\n{of_root}", root.display())
    })
}

const FIRST_RIGHT: &str = "first_right = true\n";

#[track_caller]
fn until_first(postgres: &Postgres, name: &str) {
    let first = "SELECT n.name FROM aftercast.root r JOIN aftercast.node n ON n.node_id = r.first_node";
    until("the node has the first right", || (postgres.try_sql(first) == Ok(name.to_owned())).then_some(()));
}

fn nodes(postgres: &Postgres, root: &Path, of_first: &str) -> [Sandbox; 3] {
    ["a", "b", "c"].map(|name| sharing(postgres, name, root, if name == "a" { of_first } else { "" }))
}

pub(super) fn put(root: &Path, recordings: usize) {
    let flv = made("flv", 2);
    for n in 0..recordings {
        let directory = root.join(format!("live{}", n % 3));
        fs::create_dir_all(&directory).unwrap();
        fs::copy(&flv, directory.join(format!("room{n}.flv"))).unwrap();
    }
}

/// Names of all files below a directory, and how often they occur, without the root's own.
fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = tree(root).into_keys().filter(|name| name != ".aftercast-root").collect();
    names.sort();
    names
}

/// VoDs of all nodes, as the database lists them, by path below the root.
fn vods(postgres: &Postgres) -> BTreeMap<String, usize> {
    let rows = postgres.sql("SELECT rel_path FROM aftercast.vod");
    let mut found = BTreeMap::new();
    for path in rows.lines().filter(|line| !line.is_empty()) {
        *found.entry(path.to_owned()).or_default() += 1;
    }
    found
}

/// Waits until the database knows of every recording that it is finished.
#[track_caller]
fn until_done(postgres: &Postgres, recordings: usize) {
    until("every recording is done", || {
        let done = "SELECT count(*) FROM aftercast.shared_item WHERE state = 'done' AND item LIKE '%.flv'";
        (postgres.try_sql(done) == Ok(recordings.to_string())).then_some(())
    });
}

/// Waits until all of them are catalogued, too.
#[track_caller]
fn until_all_done(postgres: &Postgres, recordings: usize) {
    until_done(postgres, recordings);
    until("every VoD is listed", || (vods(postgres).len() >= recordings).then_some(()));
}

/// Each recording gave one finished file and one VoD, all with the same media; nothing else is left.
fn each_is_there_once(postgres: &Postgres, root: &Path, recordings: usize, keeps: bool) {
    let expected: Vec<_> = (0..recordings).map(|n| format!("live{}/room{n}", n % 3)).collect();
    let mut names: Vec<_> = expected.iter().map(|name| format!("{name}.mp4")).collect();
    if keeps {
        names.extend(expected.iter().map(|name| format!("{name}.flv")));
    }
    names.sort();
    until("nothing else is left", || (files(root) == names).then_some(()));
    let digests: std::collections::BTreeSet<_> = expected
        .iter()
        .map(|name| blake3::hash(&fs::read(root.join(format!("{name}.mp4"))).unwrap()).to_hex())
        .collect();
    assert_eq!(digests.len(), 1, "the same recording gives the same file, whole");
    let listed = vods(postgres);
    assert_eq!(listed.keys().cloned().collect::<Vec<_>>(), sorted(expected.iter().map(|name| format!("{name}.mp4"))));
    assert!(listed.values().all(|count| *count == 1), "one VoD each: {listed:?}");
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.shared_item WHERE state <> 'done'"), "0");
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn degraded(at: &Sandbox) -> String {
    let status: Value = status(at);
    status["degraded"].to_string()
}

#[test]
fn three_nodes_finish_each_recording_of_a_shared_root_once() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let nodes = nodes(&postgres, shared.path(), "");
    let daemons = nodes.each_ref().map(Daemon::start);
    put(shared.path(), RECORDINGS);
    until_all_done(&postgres, RECORDINGS);
    // Only weak evidence can be had on a shared file system: no source is removed.
    each_is_there_once(&postgres, shared.path(), RECORDINGS, true);
    let holders = postgres.sql("SELECT count(DISTINCT node_id) FROM aftercast.vod");
    assert!(holders.parse::<u32>().unwrap() > 1, "more than one node worked on it");
    daemons.into_iter().for_each(Daemon::stop);
    // A restart of all finds nothing to do.
    let daemons = nodes.each_ref().map(Daemon::start);
    nodes.iter().for_each(until_connected);
    for node in &nodes {
        node.run(&["rescan"]).expect_code(0);
    }
    each_is_there_once(&postgres, shared.path(), RECORDINGS, true);
    daemons.into_iter().for_each(Daemon::stop);
}

#[test]
fn the_node_beside_the_ingest_server_goes_first_and_the_others_when_it_is_dead() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let nodes = nodes(&postgres, shared.path(), FIRST_RIGHT);
    let [first, others @ ..] = nodes.each_ref().map(Daemon::start);
    nodes.iter().for_each(until_connected);
    until_first(&postgres, "a");
    put(shared.path(), 12);
    until_all_done(&postgres, 12);
    let holders = "SELECT string_agg(DISTINCT n.name, ',') FROM aftercast.vod v JOIN aftercast.node n USING (node_id)";
    assert_eq!(postgres.sql(holders), "a");
    // It sees all writers: the sources go.
    each_is_there_once(&postgres, shared.path(), 12, false);
    drop(first);
    postgres.silence("a");
    fs::copy(made("flv", 2), shared.path().join("late.flv")).unwrap();
    until("another node finishes it", || shared.path().join("late.mp4").exists().then_some(()));
    assert!(shared.path().join("late.flv").exists());
    others.into_iter().for_each(Daemon::stop);
}

#[test]
fn of_two_nodes_that_are_to_go_first_the_second_is_told_so_and_delivers_no_unit() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let [a, b] = ["a", "b"].map(|name| sharing(&postgres, name, shared.path(), FIRST_RIGHT));
    let first = Daemon::start(&a);
    until_first(&postgres, "a");
    let second = Daemon::start(&b);
    second.until_said("another node has the first right");
    let warnings = || status(&b)["fleet"]["warnings"].to_string();
    assert!(warnings().contains("the node `a` has the first right") && warnings().contains("remove `first_right`"));
    let said = b.run(&["status"]).expect_code(0);
    assert!(said.out.contains("warning: the node `a` has the first right"), "{}", said.out);
    let doctor = b.run(&["doctor"]).expect_code(0);
    assert!(doctor.out.contains("the node `a` has the first right"), "{}", doctor.out);
    assert_eq!(status(&a)["fleet"]["warnings"], Value::Null);
    let names = |room: &str| [format!("{room}.m3u8"), format!("{room}000000000.ts")];
    let are_in = |at: &Sandbox, room: &str| names(room).iter().all(|name| at.store().join(name).exists());
    unit_in(shared.path(), "room1", 1, "#EXT-X-ENDLIST\n");
    until("the first one delivers the unit", || are_in(&a, "room1").then_some(()));
    b.run(&["rescan"]).expect_code(0);
    assert_eq!(b.run(&["--json", "queue", "list", "--all"]).expect_code(0).json_lines(), Vec::<Value>::new());
    // The first one dies: the second has the right, and everything that follows from it.
    drop(first);
    postgres.silence("a");
    until_first(&postgres, "b");
    until("nothing is to be said any more", || (status(&b)["fleet"]["warnings"] == Value::Null).then_some(()));
    unit_in(shared.path(), "room2", 1, "#EXT-X-ENDLIST\n");
    until("the second one delivers the unit", || are_in(&b, "room2").then_some(()));
    second.stop();
}

#[test]
fn a_node_that_is_killed_in_the_middle_leaves_its_recordings_to_the_others() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let nodes = nodes(&postgres, shared.path(), "");
    put(shared.path(), RECORDINGS);
    let steps = ["partial synced:3", "linked:2"];
    let mut killed = Vec::new();
    for (node, step) in nodes.iter().zip(steps) {
        killed.push(Daemon::start_with(node, |command| {
            command.env("AFTERCAST_KILL_AFTER", step);
        }));
    }
    for daemon in &mut killed {
        assert_eq!(daemon.ended().code(), None, "{}", daemon.log());
    }
    postgres.sql("UPDATE aftercast.node SET seen_at = now() - interval '1 minute'");
    let last = Daemon::start(&nodes[2]);
    until_done(&postgres, RECORDINGS);
    // What the killed ones have catalogued is told when they are back.
    let back = [&nodes[0], &nodes[1]].map(Daemon::start);
    until_all_done(&postgres, RECORDINGS);
    each_is_there_once(&postgres, shared.path(), RECORDINGS, true);
    back.into_iter().for_each(Daemon::stop);
    last.stop();
}

#[test]
fn a_node_that_slept_while_others_took_over_publishes_and_removes_nothing() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let nodes = nodes(&postgres, shared.path(), "");
    put(shared.path(), 20);
    let sleeper = Daemon::start(&nodes[0]);
    until("it holds recordings", || {
        let held = "SELECT count(*) FROM aftercast.shared_item WHERE state IN ('leased', 'publishing')";
        let is_held = postgres.try_sql(held).is_ok_and(|held| held != "0");
        if is_held {
            sleeper.signal("STOP");
        }
        is_held.then_some(())
    });
    until("it counts as dead", || {
        postgres.sql("UPDATE aftercast.node SET seen_at = now() - interval '1 minute'");
        let active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aftercast' AND state <> 'idle'";
        (postgres.sql(active) == "0").then_some(())
    });
    let others = [&nodes[1], &nodes[2]].map(Daemon::start);
    until("the others have finished what it had not", || {
        let left = "SELECT count(*) FROM aftercast.shared_item WHERE state <> 'done'";
        (postgres.sql(left) == "0" && files(shared.path()).iter().filter(|n| n.contains(".mp4")).count() == 20)
            .then_some(())
    });
    sleeper.signal("CONT");
    until_all_done(&postgres, 20);
    until_connected(&nodes[0]);
    each_is_there_once(&postgres, shared.path(), 20, true);
    others.into_iter().for_each(Daemon::stop);
    sleeper.stop();
}

/// A standby that took over without the last changes gives tokens out again.
#[test]
fn a_token_that_is_given_out_twice_ends_no_other_recording() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let node = sharing(&postgres, "a", shared.path(), "");
    fs::copy(made("flv", 2), shared.path().join("one.flv")).unwrap();
    let daemon = Daemon::start_with(&node, |command| {
        command.env("AFTERCAST_STOP_AFTER", "partial synced:1");
    });
    until("the node is suspended", || is_suspended(daemon.id()).then_some(()));
    let two = shared.path().join("two.flv");
    fs::copy(made("flv", 2), &two).unwrap();
    // As there: nothing is known of the first recording, and its token is that of the second.
    let now = fs::metadata(&two).unwrap();
    let mtime_ns = now.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let key = &blake3::hash(b"two.flv").to_hex()[..32];
    postgres.sql(&format!(
        "UPDATE aftercast.shared_item SET item = 'two.flv', item_key = '{key}', fingerprint = '{}:{mtime_ns}'",
        now.len()
    ));
    daemon.signal("CONT");
    let finished = ["one.mp4", "two.mp4"].map(|name| (name.to_owned(), 1));
    until("both recordings are finished", || (vods(&postgres) == finished.clone().into()).then_some(()));
    assert_eq!(files(shared.path()), ["one.flv", "one.mp4", "two.flv", "two.mp4"]);
    let done = "SELECT string_agg(result, ' ' ORDER BY result) FROM aftercast.shared_item WHERE state = 'done' AND vod_id <> ''";
    assert_eq!(postgres.sql(done), "one.mp4 two.mp4");
    daemon.stop();
}

#[test]
fn a_recording_that_two_nodes_die_of_is_quarantined_for_all() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let nodes = nodes(&postgres, shared.path(), "");
    fs::copy(made("flv", 2), shared.path().join("bad.flv")).unwrap();
    for node in &nodes[..2] {
        let mut daemon = Daemon::start_with(node, |command| {
            command.env("AFTERCAST_KILL_AFTER", "partial synced:1");
        });
        assert_eq!(daemon.ended().code(), None, "{}", daemon.log());
        // As if it was started again: silence alone may be that of the network.
        postgres.sql("UPDATE aftercast.node SET seen_at = now() - interval '1 minute', epoch = epoch + 1");
    }
    let last = Daemon::start(&nodes[2]);
    last.until_said("quarantined for all nodes");
    assert_eq!(postgres.sql("SELECT state FROM aftercast.shared_item"), "quarantined");
    let bad = shared.path().join("bad.flv");
    assert!(bad.exists() && !shared.path().join("bad.mp4").exists());
    let said = nodes[2].run(&["process", bad.to_str().unwrap()]).expect_code(4);
    assert!(said.out.starts_with("quarantined"), "{}", said.out);
    nodes[2].run(&["process", "--again", bad.to_str().unwrap()]).expect_code(0);
    assert!(shared.path().join("bad.mp4").exists());
    last.stop();
}

#[test]
fn what_waits_for_parameters_in_a_shared_root_is_finished_when_its_stream_was_recorded() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let node = sharing(&postgres, "a", shared.path(), "");
    let daemon = Daemon::start(&node);
    let put = |from: &Path, to: &str| {
        fs::create_dir_all(shared.path().join(to).parent().unwrap()).unwrap();
        fs::copy(from, shared.path().join(to)).unwrap();
    };
    put(&without_moov(&made("mp4", 4)), "a/room7.mp4");
    let state = "SELECT state FROM aftercast.shared_item WHERE item = 'a/room7.mp4'";
    until("it waits", || (postgres.try_sql(state) == Ok("quarantined".to_owned())).then_some(()));
    put(&made("mp4", 2), "b/room7.mp4");
    until("it is salvaged", || (postgres.try_sql(state) == Ok("done".to_owned())).then_some(()));
    assert!(shared.path().join("a/room7_1.mp4").exists(), "{:?}", files(shared.path()));
    daemon.stop();
}

#[test]
fn a_file_whose_freeing_was_killed_is_freed_by_the_next_start_of_its_node() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let nodes = ["a", "b"].map(|name| {
        let node = sharing(&postgres, name, shared.path(), "");
        let config = fs::read_to_string(node.path().join("config.toml")).unwrap();
        fs::write(node.path().join("config.toml"), format!("{config}\n[retain]\ndelete_local = \"delivered\"\n"))
            .unwrap();
        node
    });
    fs::write(shared.path().join("take.mp4"), padded("take", 0)).unwrap();
    let mut daemon = Daemon::start_with(&nodes[0], |command| {
        command.env("AFTERCAST_KILL_AFTER", "moved aside:1");
    });
    assert_eq!(daemon.ended().code(), None, "{}", daemon.log());
    assert_eq!(files(shared.path()), [".aftercast-take.mp4.aside"]);
    // Another node leaves it alone.
    let other = Daemon::start(&nodes[1]);
    until_connected(&nodes[1]);
    nodes[1].run(&["rescan"]);
    assert_eq!(files(shared.path()), [".aftercast-take.mp4.aside"]);
    let again = Daemon::start(&nodes[0]);
    until("it is freed", || (files(shared.path()).is_empty() && nodes[0].vods()[0]["freedAt"].is_i64()).then_some(()));
    assert!(nodes[0].store().join("take.mp4").exists());
    other.stop();
    again.stop();
}

#[test]
fn without_the_database_a_shared_root_rests_and_local_ones_go_on() {
    let (mut postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let node = sharing(&postgres, "a", shared.path(), "");
    let config = node.path().join("config.toml");
    let with_local =
        format!("{}\n[[watch.root]]\npath = \"{}\"\n", fs::read_to_string(&config).unwrap(), node.root().display());
    fs::write(&config, with_local).unwrap();
    let daemon = Daemon::start(&node);
    until_connected(&node);
    postgres.stop_immediately();
    until("the shared root is paused", || degraded(&node).contains("is paused").then_some(()));
    fs::write(shared.path().join("waits.mp4"), padded("waits", 0)).unwrap();
    fs::write(node.root().join("local.mp4"), padded("local", 0)).unwrap();
    until("the local one is delivered", || node.store().join("local.mp4").exists().then_some(()));
    node.run(&["rescan"]);
    assert!(!node.store().join("waits.mp4").exists());
    let said = node.run(&["status"]).expect_code(0);
    assert!(said.out.contains("is ready") && said.out.contains("is paused"), "{}", said.out);
    let doctor = node.run(&["doctor"]).expect_code(5);
    assert!(doctor.out.contains("is paused"), "{}", doctor.out);
    postgres.begin();
    until("it goes on", || node.store().join("waits.mp4").exists().then_some(()));
    daemon.stop();
}

#[test]
fn a_delivery_waits_without_a_try_while_its_shared_root_is_paused() {
    let (mut postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let node = sharing(&postgres, "a", shared.path(), "");
    let daemon = Daemon::start(&node);
    until_connected(&node);
    // Something else has the place of the store.
    let aside = node.path().join("store aside");
    fs::rename(node.store(), &aside).unwrap();
    fs::write(node.store(), "").unwrap();
    fs::write(shared.path().join("x.mp4"), padded("x", 0)).unwrap();
    let delivery = |is: &dyn Fn(&Value) -> bool| {
        let queue = node.run(&["--json", "queue", "list", "--all"]).expect_code(0).json_lines();
        queue.first().map(|row| row["delivery"].clone()).filter(|delivery| is(delivery))
    };
    let failed = until("it has failed", || delivery(&|delivery| delivery["attempts"].as_u64() > Some(0)));
    postgres.stop_immediately();
    until("the shared root is paused", || degraded(&node).contains("is paused").then_some(()));
    fs::remove_file(node.store()).unwrap();
    fs::rename(&aside, node.store()).unwrap();
    node.run(&["queue", "retry", failed["id"].as_str().unwrap()]).expect_code(0);
    let waits = until("it waits for the root", || delivery(&|delivery| delivery.to_string().contains("is paused")));
    assert_eq!(waits["attempts"], 1, "{waits}");
    assert!(!node.store().join("x.mp4").exists());
    postgres.begin();
    let done = until("it is delivered", || delivery(&|delivery| delivery.to_string().contains("objects")));
    assert_eq!(done["attempts"], 2, "{done}");
    assert!(node.store().join("x.mp4").exists());
    daemon.stop();
}

#[test]
fn what_cannot_be_shared_is_refused_with_words() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let node = sharing(&postgres, "a", shared.path(), "");
    // A command alone has no claim on anything.
    let alone = node.run(&["process", shared.path().to_str().unwrap()]);
    assert!(alone.code() != 0 && alone.err.contains("only a running daemon"), "{}", alone.err);
    let daemon = Daemon::start(&node);
    until_connected(&node);
    // Whoever was not told that it is shared does not touch it.
    let stranger = Sandbox::with_config(|dir| {
        standard_config(dir, "").replace(&format!("{}/root", dir.display()), &shared.path().display().to_string())
    });
    let refused = stranger.run(&["process", shared.path().to_str().unwrap()]);
    assert!(refused.code() != 0 && refused.err.contains("shared = true"), "{}", refused.err);
    daemon.stop();
    let config = node.path().join("config.toml");
    let without = fs::read_to_string(&config).unwrap();
    let fleet = without.find("[fleet]").unwrap();
    let roots = without.find("[[watch.root]]").unwrap();
    fs::write(&config, format!("{}{}", &without[..fleet], &without[roots..])).unwrap();
    let refused = node.run(&["config", "check"]).expect_code(3);
    assert!(refused.err.contains("[fleet] database"), "{}", refused.err);
}

/// A file system whose link(2) says that it has linked and has not: it replaces what has the name, or makes a copy.
#[test]
fn a_file_system_that_lies_about_hard_links_cannot_be_shared() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let node = sharing(&postgres, "a", shared.path(), "");
    let inject = node.path().join("inject");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/nothing_lost/inject.c");
    assert!(Command::new("gcc").args(["-O2", "-o"]).arg(&inject).arg(source).status().unwrap().success());
    let log = node.path().join("injected");
    let lying = |lie: &str, args: &[&str]| {
        let mut program = Command::new(&inject);
        program.args([lie, "1"]).arg(&log).arg(shared.path()).arg("--");
        RunOutput::from(behind(program, &node.command(args)).output().unwrap())
    };
    if lying("links-copy", &["--version"]).code() != 0 {
        println!("skipped: the kernel does not let a program answer system calls of another");
        return;
    }
    put(shared.path(), 3);
    let before = tree(shared.path());
    for lie in ["links-replace", "links-copy"] {
        let refused = lying(lie, &["watch"]).expect_code(5);
        assert!(
            refused.err.contains("cannot be shared") && refused.err.contains("Nothing was changed"),
            "{}",
            refused.err
        );
        let doctor = lying(lie, &["--json", "doctor"]).json_lines();
        let check = doctor.iter().find(|check| check["check"] == "hard links").unwrap();
        assert!(check["ok"] == false, "{check}");
    }
    assert!(fs::read_to_string(log).unwrap().contains("linkat lied"));
    assert_eq!(tree(shared.path()), before);
    // The same without the lie.
    let daemon = Daemon::start(&node);
    until_all_done(&postgres, 3);
    daemon.stop();
}

/// Two machines with one identity: the one that is refused holds nothing.
#[test]
fn a_cloned_node_takes_nothing_of_a_shared_root() {
    let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
    let original = sharing(&postgres, "original", shared.path(), "");
    Daemon::start(&original).stop();
    let clone = sharing(&postgres, "clone", shared.path(), "");
    fs::copy(original.path().join("state/node-id"), clone.path().join("state/node-id")).unwrap();
    let daemon = Daemon::start(&original);
    until_connected(&original);
    let cloned = Daemon::start(&clone);
    until("the clone is refused", || {
        let problem = status(&clone)["fleet"]["problem"].to_string();
        problem.contains("uses the identity").then_some(())
    });
    put(shared.path(), 6);
    until_all_done(&postgres, 6);
    assert_eq!(clone.run(&["--json", "vod", "list", "--node", "this"]).expect_code(0).json_lines().len(), 0);
    each_is_there_once(&postgres, shared.path(), 6, true);
    cloned.stop();
    daemon.stop();
}
