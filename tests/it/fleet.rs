//! Several daemons with one PostgreSQL: all list what each has, nothing is lost while the database is away, and a node that is
//! there twice, or knows less than the database, is found out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::face::address_of;
use crate::support::daemon::{Daemon, until};
use crate::support::postgres::Postgres;
use crate::support::recordings::padded;
use crate::support::{Sandbox, standard_config};

pub fn section(postgres: &Postgres, name: &str, more: &str) -> String {
    format!(
        "[fleet]\ndatabase = \"{}\"\npassword_file = \"{}\"\nname = \"{name}\"\n{more}",
        postgres.url(),
        postgres.password_file().display()
    )
}

pub fn node(postgres: &Postgres, name: &str) -> Sandbox {
    Sandbox::with_config(|dir| standard_config(dir, &section(postgres, name, "")))
}

pub fn record(node: &Sandbox, name: &str) {
    fs::write(node.root().join(name), padded(name, 0)).unwrap();
}

/// Names of the VoDs that a node lists, with their nodes.
pub fn listed(at: &Sandbox, args: &[&str]) -> BTreeSet<(String, String)> {
    let said = at.run(&[&["--json", "vod", "list", "--limit", "1000"], args].concat()).expect_code(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    said.json_lines().iter().map(|vod| (text(&vod["node"]["name"]), text(&vod["vodName"]))).collect()
}

pub fn pairs(expected: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    expected.iter().map(|(node, name)| ((*node).to_owned(), (*name).to_owned())).collect()
}

/// Waits until a node lists exactly these.
#[track_caller]
pub fn until_listed(at: &Sandbox, expected: &[(&str, &str)]) {
    let expected = pairs(expected);
    let look = || {
        let said = at.run(&["--json", "vod", "list", "--limit", "1000"]);
        (said.code() == 0 && listed(at, &[]) == expected).then_some(())
    };
    until("all nodes' VoDs are listed", look);
}

#[track_caller]
fn until_listed_at_least(at: &Sandbox, name: &str) {
    let look = || {
        let said = at.run(&["--json", "vod", "list", "--limit", "1000"]);
        said.json_lines().iter().any(|vod| vod["vodName"] == name).then_some(())
    };
    until("the VoD is listed", look);
}

pub fn status(at: &Sandbox) -> Value {
    at.run(&["--json", "status"]).json_lines().remove(0)
}

#[track_caller]
pub fn until_connected(at: &Sandbox) {
    until("the node is connected", || status(at)["fleet"]["isConnected"].as_bool().filter(|is| *is));
}

/// Waits until the database has been told everything.
#[track_caller]
pub fn until_told(at: &Sandbox) {
    until("the database knows everything", || {
        let fleet = status(at)["fleet"].clone();
        (fleet["isConnected"] == true && fleet["waitingVods"] == 0 && fleet["waitingEvents"] == 0).then_some(())
    });
}

/// Waits until the status says something about the database.
#[track_caller]
fn until_problem(at: &Sandbox, words: &str) {
    until(words, || status(at)["fleet"]["problem"].as_str().is_some_and(|said| said.contains(words)).then_some(()));
}

fn id_of(at: &Sandbox, name: &str) -> String {
    let said = at.run(&["--json", "vod", "list", "--limit", "1000"]).expect_code(0).json_lines();
    said.iter().find(|vod| vod["vodName"] == name).unwrap()["vodId"].as_str().unwrap().to_owned()
}

#[test]
fn three_nodes_list_what_each_has_and_change_only_their_own() {
    let postgres = Postgres::start();
    let nodes = ["a", "b", "c"].map(|name| node(&postgres, name));
    let daemons = nodes.each_ref().map(Daemon::start);
    for (node, name) in nodes.iter().zip(["one.mp4", "two.mp4", "three.mp4"]) {
        record(node, name);
    }
    let all = [("a", "one.mp4"), ("b", "two.mp4"), ("c", "three.mp4")];
    for node in &nodes {
        until_listed(node, &all);
    }
    // All three came to a database without tables at the same time.
    for daemon in &daemons {
        assert!(!daemon.log().contains("fleet database failed"), "{}", daemon.log());
    }
    let [a, b, c] = &nodes;
    assert_eq!(listed(a, &["--node", "b"]), pairs(&[("b", "two.mp4")]));
    assert_eq!(listed(a, &["--node", "this"]), pairs(&[("", "one.mp4")]), "only what it has, as without a fleet");
    let unknown = a.run(&["vod", "list", "--node", "nobody"]);
    assert!(unknown.code() != 0 && unknown.err.contains("no node is called `nobody`"), "{}", unknown.err);
    // Page after page, each VoD once.
    let first = a.run(&["--json", "vod", "list", "--limit", "2"]).expect_code(0);
    let cursor = first.err.split("--after ").nth(1).unwrap().trim().to_owned();
    let second = a.run(&["--json", "vod", "list", "--limit", "2", "--after", &cursor]).expect_code(0);
    let ids: BTreeSet<_> =
        first.json_lines().into_iter().chain(second.json_lines()).map(|vod| vod["vodId"].to_string()).collect();
    assert_eq!((first.json_lines().len(), second.json_lines().len(), ids.len()), (2, 1, 3));
    // Looked at from anywhere, changed only where it is.
    let two = id_of(a, "two.mp4");
    let shown = a.run(&["--json", "vod", "show", &two]).expect_code(0).json_lines().remove(0);
    assert_eq!((&shown["vodName"], &shown["node"]["name"]), (&"two.mp4".into(), &"b".into()));
    for command in
        [&["vod", "delete", &two, "--yes"][..], &["vod", "verify", &two], &["queue", "retry", &format!("{two}@store")]]
    {
        let refused = a.run(command).expect_code(4);
        assert!(refused.err.contains("belongs to the node `b`"), "{command:?}: {}", refused.err);
    }
    b.run(&["vod", "delete", &two, "--yes"]).expect_code(0);
    until_listed(c, &[("a", "one.mp4"), ("c", "three.mp4")]);
    // What happened is there, too.
    nodes.iter().for_each(until_told);
    let deleted = "SELECT name FROM aftercast.event JOIN aftercast.node USING (node_id) WHERE type = 'vod.deleted'";
    assert_eq!(postgres.sql(deleted), "b");
    daemons.into_iter().for_each(Daemon::stop);
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.node WHERE stopped_at IS NULL"), "0");
    // Without a daemon the command asks the database itself.
    assert_eq!(listed(a, &[]), pairs(&[("a", "one.mp4"), ("c", "three.mp4")]));
}

#[test]
fn a_database_that_is_away_delays_nothing_and_is_told_everything_later() {
    let mut postgres = Postgres::start();
    let nodes = ["a", "b"].map(|name| node(&postgres, name));
    let daemons = nodes.each_ref().map(Daemon::start);
    record(&nodes[0], "before.mp4");
    let mut all = vec![("a", "before.mp4".to_owned())];
    nodes.iter().for_each(until_connected);
    until_listed(&nodes[1], &[("a", "before.mp4")]);
    postgres.stop_immediately();
    for n in 0..10 {
        for (node, of) in nodes.iter().zip(["a", "b"]) {
            record(node, &format!("{of}{n}.mp4"));
            all.push((of, format!("{of}{n}.mp4")));
        }
    }
    // Finished, catalogued and delivered as ever.
    until("recordings are delivered", || {
        let delivered = |node: &Sandbox| fs::read_dir(node.store()).unwrap().count();
        (delivered(&nodes[0]) == 11 && delivered(&nodes[1]) == 10).then_some(())
    });
    assert_eq!(listed(&nodes[0], &["--node", "this"]).len(), 11);
    let away = nodes[0].run(&["vod", "list"]).expect_code(5);
    assert!(away.err.contains("--node this"), "{}", away.err);
    let said = nodes[0].run(&["status"]).expect_code(0);
    assert!(said.out.contains("is ready") && said.out.contains("degraded: "), "{}", said.out);
    let doctor = nodes[0].run(&["--json", "doctor"]);
    let checks: Vec<Value> = doctor.json_lines();
    let check = checks.iter().find(|check| check["subject"] == "fleet").unwrap();
    assert_eq!(check["ok"], false, "{check}");
    for daemon in &daemons {
        assert_eq!(daemon.log().matches("the fleet database is not told").count(), 1, "said once: {}", daemon.log());
    }
    postgres.begin();
    let all: Vec<_> = all.iter().map(|(node, name)| (*node, name.as_str())).collect();
    for node in &nodes {
        until_listed(node, &all);
    }
    nodes.iter().for_each(until_told);
    // Every event of the nodes' own logs, once.
    for (node, name) in nodes.iter().zip(["a", "b"]) {
        let own = node.run(&["--json", "events", "list", "--limit", "100000"]).expect_code(0).json_lines();
        let there = format!(
            "SELECT count(*), max(seq) FROM aftercast.event JOIN aftercast.node USING (node_id) WHERE name = '{name}'"
        );
        let last = own.last().unwrap()["sequence"].to_string();
        until("events are there", || (postgres.sql(&there) == format!("{}|{last}", own.len())).then_some(()));
    }
    daemons.into_iter().for_each(Daemon::stop);
}

#[test]
fn a_wrong_password_is_said_and_a_corrected_one_is_used_without_a_restart() {
    let postgres = Postgres::start();
    let sandbox = Sandbox::with_config(|dir| {
        fs::write(dir.join("password"), "wrong\n").unwrap();
        let section = section(&postgres, "a", "");
        let wrong = dir.join("password").display().to_string();
        standard_config(dir, &section.replace(&postgres.password_file().display().to_string(), &wrong))
    });
    let daemon = Daemon::start(&sandbox);
    until_problem(&sandbox, "password authentication failed");
    record(&sandbox, "one.mp4");
    until("it is finished all the same", || (listed(&sandbox, &["--node", "this"]).len() == 1).then_some(()));
    assert!(!daemon.log().contains("hunter2"), "{}", daemon.log());
    fs::copy(postgres.password_file(), sandbox.path().join("password")).unwrap();
    until_listed(&sandbox, &[("a", "one.mp4")]);
    daemon.stop();
}

#[test]
fn a_node_whose_identity_cannot_be_read_works_alone_until_it_can() {
    let postgres = Postgres::start();
    let sandbox = node(&postgres, "a");
    Daemon::start(&sandbox).stop();
    let identity = sandbox.path().join("state/node-id");
    let own = fs::read(&identity).unwrap();
    fs::write(&identity, "damaged").unwrap();
    let daemon = Daemon::start(&sandbox);
    until_problem(&sandbox, "cannot read the identity of this node");
    record(&sandbox, "one.mp4");
    until("it is delivered all the same", || (fs::read_dir(sandbox.store()).unwrap().count() == 1).then_some(()));
    let doctor = sandbox.run(&["--json", "doctor"]).json_lines();
    let check = doctor.iter().find(|check| check["subject"] == "fleet").unwrap();
    assert!(check["ok"] == false && check["detail"].to_string().contains("node-id"), "{check}");
    assert_eq!(daemon.log().matches("the fleet database is not told").count(), 1, "said once: {}", daemon.log());
    assert_eq!(fs::read(&identity).unwrap(), b"damaged");
    fs::write(&identity, own).unwrap();
    until_listed(&sandbox, &[("a", "one.mp4")]);
    daemon.stop();
}

#[test]
fn a_database_that_cannot_hold_every_name_is_refused() {
    let postgres = Postgres::start();
    postgres.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let sandbox = Sandbox::with_config(|dir| {
        let section = section(&postgres, "a", "");
        standard_config(dir, &section.replace("/postgres\"", "/latin\""))
    });
    let daemon = Daemon::start(&sandbox);
    until_problem(&sandbox, "has the encoding LATIN1, not UTF8");
    daemon.stop();
}

#[test]
fn a_row_that_the_database_refuses_holds_up_no_other() {
    let postgres = Postgres::start();
    let sandbox = node(&postgres, "a");
    let daemon = Daemon::start(&sandbox);
    until_told(&sandbox);
    daemon.stop();
    postgres.sql("ALTER TABLE aftercast.vod ADD CHECK (1 / (length(vod_name) - 11) IS NOT NULL)");
    for name in ["one.mp4", "refused.mp4", "two.mp4", "three.mp4"] {
        record(&sandbox, name);
    }
    let daemon = Daemon::start(&sandbox);
    until_listed(&sandbox, &[("a", "one.mp4"), ("a", "two.mp4"), ("a", "three.mp4")]);
    until_told(&sandbox);
    daemon.until_said("the fleet database refuses a row");
    daemon.stop();
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let postgres = Postgres::start();
    let sandbox = node(&postgres, "a");
    let daemon = Daemon::start(&sandbox);
    until_connected(&sandbox);
    daemon.stop();
    postgres.sql("UPDATE aftercast.meta SET version = 99");
    let daemon = Daemon::start(&sandbox);
    until_problem(&sandbox, "schema 99");
    assert_eq!(postgres.sql("SELECT version FROM aftercast.meta"), "99");
    record(&sandbox, "one.mp4");
    until("it is finished all the same", || (listed(&sandbox, &["--node", "this"]).len() == 1).then_some(()));
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.vod"), "0");
    daemon.stop();
}

/// A copy of a node's state directory in a house of its own, as of a cloned machine.
fn clone_of(postgres: &Postgres, node: &Sandbox, name: &str) -> Sandbox {
    let clone = Sandbox::with_config(|dir| standard_config(dir, &section(postgres, name, "")));
    copy_state(&node.path().join("state"), &clone.path().join("state"));
    clone
}

fn copy_state(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_cloned_node_is_refused_until_it_has_an_identity_of_its_own() {
    let postgres = Postgres::start();
    let original = node(&postgres, "original");
    let daemon = Daemon::start(&original);
    until_connected(&original);
    daemon.stop();
    let clone = clone_of(&postgres, &original, "clone");
    let daemon = Daemon::start(&original);
    until_connected(&original);
    let cloned = Daemon::start(&clone);
    until_problem(&clone, "another process uses the identity of this node");
    let said = clone.run(&["status"]).expect_code(0);
    assert!(said.out.contains("delete `node-id`"), "{}", said.out);
    assert_eq!(status(&original)["fleet"]["isConnected"], true);
    record(&clone, "of-the-clone.mp4");
    until("it is finished all the same", || (listed(&clone, &["--node", "this"]).len() == 1).then_some(()));
    cloned.stop();
    fs::remove_file(clone.path().join("state/node-id")).unwrap();
    let cloned = Daemon::start(&clone);
    record(&original, "of-the-original.mp4");
    until_listed(&original, &[("clone", "of-the-clone.mp4"), ("original", "of-the-original.mp4")]);
    cloned.stop();
    daemon.stop();
}

#[test]
fn a_node_that_was_silent_while_another_took_its_identity_finds_another_epoch() {
    let postgres = Postgres::start();
    let original = node(&postgres, "original");
    Daemon::start(&original).stop();
    let clone = clone_of(&postgres, &original, "clone");
    let daemon = Daemon::start(&original);
    until_connected(&original);
    daemon.signal("STOP");
    // As if 30 s had passed: only the database's clock counts.
    until("no heartbeat is under way", || {
        postgres.sql("UPDATE aftercast.node SET seen_at = now() - interval '1 minute'");
        let active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aftercast' AND state <> 'idle'";
        (postgres.sql(active) == "0").then_some(())
    });
    let cloned = Daemon::start(&clone);
    until_connected(&clone);
    daemon.signal("CONT");
    until_problem(&original, "the identity of this node");
    record(&original, "late.mp4");
    until("it is finished all the same", || (listed(&original, &["--node", "this"]).len() == 1).then_some(()));
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.vod"), "0", "what it tells is fenced off");
    assert_eq!(status(&clone)["fleet"]["isConnected"], true);
    cloned.stop();
    daemon.stop();
}

#[test]
fn a_state_restored_from_a_backup_is_told_apart_by_its_epoch() {
    let postgres = Postgres::start();
    let sandbox = node(&postgres, "a");
    let daemon = Daemon::start(&sandbox);
    record(&sandbox, "old.mp4");
    until_told(&sandbox);
    until_listed(&sandbox, &[("a", "old.mp4")]);
    daemon.stop();
    let (state, backup) = (sandbox.path().join("state"), sandbox.path().join("backup"));
    copy_state(&state, &backup);
    let daemon = Daemon::start(&sandbox);
    for name in ["delivered.mp4", "local.mp4"] {
        record(&sandbox, name);
    }
    until_listed(&sandbox, &[("a", "old.mp4"), ("a", "delivered.mp4"), ("a", "local.mp4")]);
    until_told(&sandbox);
    until("deliveries are done", || (fs::read_dir(sandbox.store()).unwrap().count() == 3).then_some(()));
    until("the database knows", || {
        (postgres.sql("SELECT count(*) FROM aftercast.vod WHERE is_delivered") == "3").then_some(())
    });
    daemon.stop();
    // The backup knows nothing of them, and their files are gone; one has no copy in a store as far as the database knows.
    copy_state(&backup, &state);
    for name in ["delivered.mp4", "local.mp4"] {
        fs::remove_file(sandbox.root().join(name)).unwrap();
    }
    postgres.sql("UPDATE aftercast.vod SET is_delivered = false WHERE vod_name = 'local.mp4'");
    // More than one transaction takes.
    postgres.sql(
        "INSERT INTO aftercast.vod SELECT (json_populate_record(v, json_build_object('vod_id', v.vod_id || n))).* \
         FROM aftercast.vod v, generate_series(1, 4500) n WHERE vod_name = 'local.mp4'",
    );
    let before: i64 = postgres.sql("SELECT epoch FROM aftercast.node").parse().unwrap();
    let daemon = Daemon::start(&sandbox);
    until_listed(&sandbox, &[("a", "old.mp4"), ("a", "delivered.mp4")]);
    daemon.until_said("a backup was restored");
    assert!(postgres.sql("SELECT epoch FROM aftercast.node").parse::<i64>().unwrap() > before);
    let unknown = "SELECT vod_name FROM aftercast.vod WHERE unknown_since IS NOT NULL";
    assert_eq!(postgres.sql(unknown), "delivered.mp4", "a copy in a store stays listed");
    // What changes now has lower revisions than what the database had; it counts all the same.
    record(&sandbox, "new.mp4");
    until_listed(&sandbox, &[("a", "old.mp4"), ("a", "delivered.mp4"), ("a", "new.mp4")]);
    daemon.stop();
}

#[test]
fn a_batch_that_a_standby_lacks_is_told_again() {
    let postgres = Postgres::start();
    let sandbox = node(&postgres, "a");
    let daemon = Daemon::start(&sandbox);
    for name in ["one.mp4", "two.mp4"] {
        record(&sandbox, name);
        until_listed_at_least(&sandbox, name);
    }
    until("deliveries are done", || (fs::read_dir(sandbox.store()).unwrap().count() == 2).then_some(()));
    until_told(&sandbox);
    // Of an outage, changes go in the order of ids: the last batch may hold no revision greater than those before.
    let lost = "WITH lost AS (DELETE FROM aftercast.vod WHERE vod_name = 'one.mp4') UPDATE aftercast.node SET batch = batch - 1";
    postgres.sql(lost);
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aftercast' AND pid <> pg_backend_pid()",
    );
    daemon.until_said("the database has lost changes");
    until_listed(&sandbox, &[("a", "one.mp4"), ("a", "two.mp4")]);
    daemon.stop();
    // As well while the node was stopped.
    postgres.sql(lost);
    let daemon = Daemon::start(&sandbox);
    until_listed(&sandbox, &[("a", "one.mp4"), ("a", "two.mp4")]);
    until_told(&sandbox);
    daemon.stop();
    // A database that lacks nothing is not told again.
    let daemon = Daemon::start(&sandbox);
    until_told(&sandbox);
    assert_eq!(daemon.log().matches("about every VoD again").count(), 2, "{}", daemon.log());
    daemon.stop();
}

#[test]
fn a_question_that_nobody_waits_for_any_more_does_not_stay_in_the_server() {
    let postgres = Postgres::start();
    let sandbox = node(&postgres, "a");
    let daemon = Daemon::start(&sandbox);
    until_connected(&sandbox);
    daemon.stop();
    let mut locking = postgres.holding_lock("aftercast.vod");
    let said = sandbox.run(&["vod", "list"]).expect_code(5);
    assert!(said.err.contains("did not answer within"), "{}", said.err);
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aftercast' AND wait_event_type = 'Lock'";
    assert_eq!(postgres.sql(waiting), "0");
    locking.kill().unwrap();
    locking.wait().unwrap();
}

#[test]
fn media_of_another_node_is_redirected_to_it() {
    let postgres = Postgres::start();
    let served = |name: &str, more: &str| {
        Sandbox::with_config(|dir| {
            standard_config(dir, &section(&postgres, name, more))
                + "\n[serve]\nlisten = \"127.0.0.1:0\"\npage = false\n"
        })
    };
    let a = served("a", "");
    let b = Sandbox::with_config(|dir| {
        let section = section(&postgres, "b", "api_url = \"https://b.example/\"\n");
        standard_config(dir, &section.replace(&postgres.url(), &postgres.socket_url()))
    });
    let daemons = [Daemon::start(&a), Daemon::start(&b)];
    record(&b, "two.mp4");
    until_listed(&a, &[("b", "two.mp4")]);
    let id = id_of(&a, "two.mp4");
    let base = format!("http://{}", address_of(&daemons[0]));
    let media = format!("{base}/api/v1/vods/{id}/media");
    let head = Command::new("curl").args(["-s", "-D-", "-o/dev/null", &media]).output().unwrap();
    let head = String::from_utf8_lossy(&head.stdout).to_lowercase();
    assert!(head.starts_with("http/1.1 307") || head.starts_with("http/1.1 302"), "{head}");
    assert!(head.contains(&format!("location: https://b.example/api/v1/vods/{}/media", id.to_lowercase())), "{head}");
    let (code, said) = super::face::curl(&[&format!("{base}/api/v1/vods?text=TWO&state=local")]);
    assert!(code == 200 && said.contains("\"isThis\":false"), "{said}");
    let (code, said) = super::face::curl(&[&format!("{base}/api/v1/vods?text=t%25o")]);
    assert!(code == 200 && said.contains("\"items\":[]"), "a wildcard is a letter: {said}");
    let (code, said) = super::face::curl(&[&format!("{base}/metrics")]);
    assert!(code == 200 && said.contains("aftercast_fleet_connected{node=\"a\"} 1"), "{said}");
    daemons.into_iter().for_each(Daemon::stop);
}

#[test]
fn a_node_that_leaves_the_fleet_forgets_it_and_nothing_of_it_is_needed_without_one() {
    let postgres = Postgres::start();
    let sandbox = node(&postgres, "a");
    let daemon = Daemon::start(&sandbox);
    record(&sandbox, "one.mp4");
    until_told(&sandbox);
    daemon.stop();
    let config = sandbox.path().join("config.toml");
    let with = fs::read_to_string(&config).unwrap();
    fs::write(&config, with.replace("[fleet]", "[fleet]\n#").replace("\ndatabase", "\n#database")).unwrap();
    drop(postgres);
    let daemon = Daemon::start(&sandbox);
    assert_eq!(status(&sandbox)["fleet"], Value::Null);
    assert_eq!(listed(&sandbox, &[]), pairs(&[("", "one.mp4")]));
    let refused = sandbox.run(&["vod", "list", "--node", "b"]).expect_code(2);
    assert!(refused.err.contains("[fleet] database"), "{}", refused.err);
    daemon.stop();
}
