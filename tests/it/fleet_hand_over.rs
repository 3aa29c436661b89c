//! What one process leaves another takes over: a recording has one owner that lists it, and nothing half done stays behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aftercast::fleet::WorkResult;
use serde_json::json;

use super::fleet::{status, until_connected, until_told};
use super::fleet_batch::{Worker, assert_each_once, fill, house, lease, start_root};
use super::fleet_work::{Node, done, new_work};
use super::shared_roots::sharing;
use crate::support::daemon::{Daemon, until};
use crate::support::postgres::Postgres;
use crate::support::recordings::made;
use crate::support::{Sandbox, archive, tree};

/// Files of ours below a directory that are not whole.
fn partials(root: &Path) -> Vec<String> {
    tree(root).into_keys().filter(|name| name.ends_with(".partial")).collect()
}

fn with_subfolder(sandbox: &Sandbox, subfolder: &str) {
    let config = sandbox.path().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[finish]\nrecording_subfolder = \"{subfolder}\"\n")).unwrap();
}

#[test]
fn whoever_takes_over_in_a_shared_root_removes_what_was_left_in_the_subfolder() {
    for (subfolder, step) in [("vod", "partial synced:1"), ("vod/{date}", "partial synced:1"), ("vod", "linked:1")] {
        let (postgres, shared) = (Postgres::start(), tempfile::tempdir().unwrap());
        let nodes = ["a", "b"].map(|name| sharing(&postgres, name, shared.path(), ""));
        for node in &nodes {
            with_subfolder(node, subfolder);
        }
        fs::copy(made("flv", 2), shared.path().join("room.flv")).unwrap();
        let mut killed = Daemon::start_with(&nodes[0], |command| {
            command.env("AFTERCAST_KILL_AFTER", step);
        });
        assert_eq!(killed.ended().code(), None, "{}", killed.log());
        assert_eq!(partials(shared.path()).len(), 1, "{subfolder} {step}: {:?}", tree(shared.path()));
        // As if it was started again, without anything of its state.
        postgres.sql("UPDATE aftercast.node SET epoch = epoch + 1");
        let daemon = Daemon::start(&nodes[1]);
        until("the recording is done", || {
            let done = "SELECT count(*) FROM aftercast.shared_item WHERE state = 'done' AND item LIKE '%.flv'";
            (postgres.sql(done) == "1").then_some(())
        });
        until("nothing is left aside", || partials(shared.path()).is_empty().then_some(()));
        let finished: Vec<_> = tree(shared.path())
            .into_keys()
            .filter(|name| Path::new(name).extension() == Some("mp4".as_ref()))
            .collect();
        assert!(finished.len() == 1 && finished[0].starts_with("vod/"), "{finished:?}");
        daemon.stop();
    }
}

#[test]
fn whoever_takes_over_in_a_batch_removes_what_a_killed_worker_has_left() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    with_subfolder(&house, "vod");
    house.put(&made("flv", 2), "room.flv");
    start_root(&house, &[]);
    lease(&postgres, 10);
    let mut killed = Worker::start_with(&house, "a", &[("AFTERCAST_KILL_AFTER", "partial synced:1")]);
    assert_eq!(killed.ended().code(), -1);
    assert_eq!(partials(&house.root()).len(), 1, "{:?}", tree(&house.root()));
    // That one never comes back: its machine and its state are gone.
    Worker::start(&house, "b").ended().expect_code(0);
    assert!(house.root().join("vod/room.mp4").exists());
    assert_eq!(partials(&house.root()), Vec::<String>::new());
    let intent = postgres.sql("SELECT intent->>'path', intent->>'asideFor' FROM aftercast.work WHERE kind <> 'list'");
    assert_eq!(intent, "vod/room.mp4|vod/room.mp4");
}

#[test]
fn what_one_worker_has_finished_and_another_delivers_is_listed_once_for_the_other() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 3);
    start_root(&house, &[]);
    // No directory can be made there: everything is finished and nothing delivered.
    let elsewhere = [("AFTERCAST_DELIVER__TARGET__0__URL", "file:///sys/aftercast")];
    let mut first = Worker::start_with(&house, "first", &elsewhere);
    let owners = "SELECT n.name, count(*), count(DISTINCT v.vod_id) FROM aftercast.vod v JOIN aftercast.node n USING (node_id) GROUP BY 1";
    until("it has finished all of them", || (postgres.sql(owners) == "first|3|3").then_some(()));
    first.signal("TERM");
    first.ended().expect_code(130);
    assert_eq!(postgres.sql(owners), "first|3|3", "it is the only one that has them");
    let second = Worker::start(&house, "second").ended().expect_code(0);
    assert_eq!(postgres.sql(owners), "second|3|3");
    assert_each_once(&postgres, &house, 3);
    let presets = second.err.matches("selected file name preset").count();
    assert_eq!(presets, 1, "said once, not for each recording: {}", second.err);
    // The first one comes back with its state, delivers what it had queued, and tells of it.
    let state = house.path().join("state-first");
    let args = |more: &'static str| ["--state-dir", state.to_str().unwrap(), more];
    let daemon = Daemon::start_command(&house, house.command(&args("watch")), |command| {
        command.env("AFTERCAST_FLEET__NAME", "first");
    });
    let told = "SELECT count(*) FROM aftercast.event JOIN aftercast.node USING (node_id) WHERE name = 'first' AND type = 'delivery.completed'";
    until("it has told what it delivered", || (postgres.sql(told) == "3").then_some(()));
    until("it has told everything", || {
        let said = house.run(&[&["--json"], &args("status")[..]].concat()).expect_code(0);
        (said.json_lines()[0]["fleet"]["waitingVods"] == 0).then_some(())
    });
    assert_eq!(postgres.sql(owners), "second|3|3");
    daemon.stop();
}

#[test]
fn a_worker_that_tells_of_a_vod_only_after_another_one_was_done_with_it_lists_nothing() {
    let postgres = Postgres::start();
    let [a, b, c] = ["a", "b", "c"].map(|name| Node::start(&postgres, name));
    for node in [&a, &b, &c] {
        node.work().enroll().unwrap();
    }
    let vod = archive::vod(Path::new("/recordings"), 1, 1, None).unwrap();
    a.work().enqueue(&[new_work("x")]).unwrap();
    let item = a.claim_one();
    for intent in [json!({ "asideFor": "x.mp4" }), json!({ "path": "x.mp4" })] {
        assert!(a.work().is_still_mine(&item, Some(&intent)).unwrap());
    }
    a.work().give_back(&[&item], Duration::ZERO).unwrap();
    // One in between begins, and does not come far.
    let item = c.claim_one();
    assert!(c.work().is_still_mine(&item, Some(&json!({ "asideFor": "x.mp4" }))).unwrap());
    c.work().give_back(&[&item], Duration::ZERO).unwrap();
    let item = b.claim_one();
    let [first, last] = [&a, &c].map(|node| node.fleet.node_id().to_owned());
    let expected = json!({ "asideFor": "x.mp4", "path": "x.mp4", "node": last, "nodes": [first, last] });
    assert_eq!(item.intent, Some(expected), "what was said of one step stays with the next");
    assert!(b.work().finish(&item, &WorkResult { vod: Some((vod.clone(), 1)), ..done() }).unwrap());
    let owners = "SELECT string_agg(n.name, ',') FROM aftercast.vod JOIN aftercast.node n USING (node_id)";
    a.catalog.merge_rebuilt(std::slice::from_ref(&vod)).unwrap();
    until("it has told everything", || (a.fleet.health().unwrap().waiting_vods == 0).then_some(()));
    assert_eq!(postgres.sql(owners), "b");
    // The next time it is the other way round.
    a.work().enqueue(&[new_work("y")]).unwrap();
    assert!(a.work().finish(&a.claim_one(), &WorkResult { vod: Some((vod, 1)), ..done() }).unwrap());
    assert_eq!(postgres.sql(owners), "a");
}

#[test]
fn rows_of_recordings_that_are_gone_are_removed_and_no_others() {
    let (postgres, shared, other) = (Postgres::start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = sharing(&postgres, "a", shared.path(), "");
    let config = node.path().join("config.toml");
    let both = format!(
        "{}\n[[watch.root]]\npath = \"{}\"\nshared = true\n",
        fs::read_to_string(&config).unwrap(),
        other.path().display()
    );
    fs::write(&config, both).unwrap();
    let daemon = Daemon::start(&node);
    until_connected(&node);
    for (root, names) in [(&shared, ["one", "two", "three", "four"].as_slice()), (&other, &["five"])] {
        for name in names {
            fs::copy(made("flv", 2), root.path().join(format!("{name}.flv"))).unwrap();
        }
    }
    let items = |of: &str| {
        let sql = "SELECT string_agg(item, ',' ORDER BY item) FROM aftercast.shared_item WHERE state = 'done' AND item LIKE '%.flv'";
        postgres.sql(&format!("{sql} {of}"))
    };
    until("all are done", || (items("") == "five.flv,four.flv,one.flv,three.flv,two.flv").then_some(()));
    until_told(&node);
    daemon.stop();
    postgres.sql("UPDATE aftercast.shared_item SET changed_at = now() - interval '8 days' WHERE item <> 'four.flv'");
    let roots =
        postgres.sql("UPDATE aftercast.root SET looked_at = NULL RETURNING quote_literal(root_id)").replace('\n', ", ");
    let gone = |name: &str| fs::remove_file(shared.path().join(name)).unwrap();
    // One is gone with its finished file, one has its finished file, one its source, and one is gone since yesterday.
    for name in ["one.flv", "one.mp4", "two.flv", "three.mp4", "four.flv", "four.mp4"] {
        gone(name);
    }
    // The other root is not mounted: nothing there is gone.
    let aside = other.path().with_extension("mounted");
    fs::rename(other.path(), &aside).unwrap();
    fs::create_dir(other.path()).unwrap();
    let daemon = Daemon::start(&node);
    until_connected(&node);
    until("the row that prevents nothing is gone", || {
        (items("") == "five.flv,four.flv,three.flv,two.flv").then_some(())
    });
    let looked = format!("SELECT count(*) FROM aftercast.root WHERE looked_at IS NOT NULL AND root_id IN ({roots})");
    assert_eq!(postgres.sql(&looked), "1", "only at what is there");
    daemon.stop();
    fs::remove_dir_all(other.path()).unwrap();
    fs::rename(&aside, other.path()).unwrap();
    let daemon = Daemon::start(&node);
    until("the other root is looked at, too", || (postgres.sql(&looked) == "2").then_some(()));
    assert_eq!(status(&node)["fleet"]["isConnected"], true);
    daemon.stop();
    assert_eq!(items(""), "five.flv,four.flv,three.flv,two.flv");
}
