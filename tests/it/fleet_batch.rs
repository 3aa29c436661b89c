//! Batches that several processes work off: each recording once, whatever happens to the processes and the database meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::clients::{put, see};
use crate::support::daemon::{is_suspended, until};
use crate::support::postgres::Postgres;
use crate::support::recordings::{made, padded, without_moov};
use crate::support::stores::s3;
use crate::support::{RunOutput, Sandbox, config_with_targets, standard_config, tree};

fn section(postgres: &Postgres, more: &str) -> String {
    format!(
        "[fleet]\ndatabase = \"{}\"\npassword_file = \"{}\"\n{more}",
        postgres.url(),
        postgres.password_file().display()
    )
}

pub(super) fn house(postgres: &Postgres) -> Sandbox {
    Sandbox::with_config(|dir| standard_config(dir, &section(postgres, "")))
}

/// So many recordings in directories.
pub(super) fn fill(house: &Sandbox, count: usize) {
    for n in 0..count {
        let path = house.root().join(format!("room{}/take{n}.mp4", n % 7));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, padded(&format!("take {n}"), 0)).unwrap();
    }
}

fn start(house: &Sandbox, root: &str, more: &[&str]) -> String {
    let said = house.run(&[&["--json", "batch", "start", "--root", root], more].concat()).expect_code(0);
    said.json_lines()[0]["id"].to_string()
}

pub(super) fn start_root(house: &Sandbox, more: &[&str]) -> String {
    start(house, house.root().to_str().unwrap(), more)
}

fn status(house: &Sandbox, batch: &str) -> Value {
    house.run(&["--json", "batch", "status", batch]).expect_code(0).json_lines().remove(0)
}

/// A process that takes work, with a state directory of its own.
pub(super) struct Worker {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Worker {
    pub fn start(house: &Sandbox, name: &str) -> Self {
        Self::start_with(house, name, &[])
    }

    pub fn start_with(house: &Sandbox, name: &str, environment: &[(&str, &str)]) -> Self {
        let state = house.path().join(format!("state-{name}"));
        let (out, err) = (house.path().join(format!("{name}.out")), house.path().join(format!("{name}.err")));
        let args = ["--json", "-v", "--state-dir", state.to_str().unwrap(), "work", "--stop-when-empty"];
        let mut command = house.command(&args);
        command.env("AFTERCAST_FLEET__NAME", name).envs(environment.iter().copied());
        command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        Self { child: command.stdin(Stdio::null()).spawn().unwrap(), out, err }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; says what it has done.
    #[track_caller]
    pub fn ended(&mut self) -> RunOutput {
        let status = until("the worker ends", || self.child.try_wait().unwrap());
        let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
        RunOutput { status, out: read(&self.out), err: read(&self.err) }
    }

    pub fn said(&self) -> String {
        let mut said = String::new();
        fs::File::open(&self.err).unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln_of(&self.said());
        }
    }
}

fn eprintln_of(said: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "a worker said:\n{said}");
}

/// Items by their names that ended in a state, with how often.
fn ended_as(runs: &[RunOutput], state: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in runs.iter().flat_map(RunOutput::json_lines).filter(|line| line["state"] == state) {
        let item = line["item"].as_str().unwrap_or_default();
        if Path::new(item).extension().is_some() {
            *counts.entry(item.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Every recording was accepted as done exactly once, is a VoD exactly once, and is delivered.
#[track_caller]
pub(super) fn assert_each_once(postgres: &Postgres, house: &Sandbox, count: usize) {
    let items = "SELECT count(*), count(DISTINCT item) FROM aftercast.work WHERE kind <> 'list' AND state = 'done'";
    assert_eq!(postgres.sql(items), format!("{count}|{count}"));
    let vods = "SELECT count(*), count(DISTINCT vod_id), count(DISTINCT vod_name) FROM aftercast.vod";
    assert_eq!(postgres.sql(vods), format!("{count}|{count}|{count}"));
    assert_eq!(tree(&house.store()).len(), count);
    let left: Vec<_> = tree(&house.root()).into_keys().filter(|name| name.contains("/.aftercast")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// For how long nodes are taken for alive: set before any of them runs.
pub(super) fn lease(postgres: &Postgres, seconds: u32) {
    postgres.sql(&format!("UPDATE aftercast.meta SET lease = '{seconds} seconds'"));
}

#[test]
fn four_workers_do_each_recording_of_a_directory_once() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 40);
    let batch = start_root(&house, &[]);
    let refused = house.run(&["batch", "start", "--root", house.root().to_str().unwrap()]).expect_code(4);
    assert!(refused.err.contains(&format!("batch {batch} is already working")), "{}", refused.err);
    let mut workers = ["a", "b", "c", "d"].map(|name| Worker::start(&house, name));
    let ended: Vec<_> = workers.iter_mut().map(|worker| worker.ended().expect_code(0)).collect();
    let done = ended_as(&ended, "done");
    assert!(done.len() == 40 && done.values().all(|count| *count == 1), "{done:?}");
    assert_each_once(&postgres, &house, 40);
    let status = status(&house, &batch);
    let numbers = ["found", "done", "failed", "ready", "leased"].map(|name| status[name].as_u64().unwrap());
    assert_eq!(
        (numbers, &status["state"], &status["isListed"]),
        ([40, 40, 0, 0, 0], &"done".into(), &true.into()),
        "{status}"
    );
    let shown = house.run(&["batch", "status", &batch]).expect_code(0);
    assert!(shown.out.contains("progress: 40 of 40 recordings"), "{}", shown.out);
    let listed = house.run(&["batch", "status"]).expect_code(0);
    assert!(listed.out.contains(house.root().to_str().unwrap()), "{}", listed.out);
    // A second batch knows what the first one has done.
    let again = start_root(&house, &[]);
    let run = Worker::start(&house, "a").ended().expect_code(0);
    assert!(ended_as(&[run], "done").is_empty());
    assert_eq!(self::status(&house, &again)["done"], 40);
    assert_eq!(self::status(&house, &batch)["done"], 40, "as it was when it ended");
    // Another kind looks at them again, and changes nothing.
    let before = tree(&house.root());
    let verify = start_root(&house, &["--reprocess", "verify"]);
    let run = Worker::start(&house, "b").ended().expect_code(0);
    assert_eq!(ended_as(&[run], "done").len(), 40);
    assert_eq!(self::status(&house, &verify)["done"], 40);
    assert_eq!(tree(&house.root()), before);
}

#[test]
fn a_root_of_more_than_one_page_is_listed_to_its_end() {
    const COUNT: usize = 1_010;
    let postgres = Postgres::start();
    let house = house(&postgres);
    for n in 0..COUNT {
        let path = house.root().join(format!("room{}/take{n}.mp4", n % 3));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let batch = start_root(&house, &["--reprocess", "verify"]);
    let mut workers = ["a", "b"].map(|name| Worker::start(&house, name));
    let ended: Vec<_> = workers.iter_mut().map(|worker| worker.ended().expect_code(0)).collect();
    let done = ended_as(&ended, "done");
    assert!(done.len() == COUNT && done.values().all(|count| *count == 1), "{}", done.len());
    let status = status(&house, &batch);
    assert_eq!((&status["found"], &status["done"], &status["isListed"]), (&COUNT.into(), &COUNT.into(), &true.into()));
}

/// Outcomes of a batch's items that are done, with how often.
fn outcomes(house: &Sandbox, batch: &str) -> BTreeMap<String, u64> {
    let status = status(house, batch);
    assert_eq!(status["state"], "done", "{status}");
    let all = status["outcomes"].as_array().unwrap().iter().filter(|of| of["state"] == "done");
    all.map(|of| (of["reason"].as_str().unwrap().to_owned(), of["count"].as_u64().unwrap())).collect()
}

#[test]
fn a_batch_salvages_what_crashed_and_another_makes_posters_and_says_of_which_it_could_not() {
    let postgres = Postgres::start();
    let pictures = |how: &str| format!("{}\n[pictures]\n{how}\n", section(&postgres, ""));
    let house = Sandbox::with_config(|dir| standard_config(dir, &pictures("poster = false")));
    house.put(&made("mp4", 2), "live/room_1.mp4");
    house.put(&without_moov(&made("mp4", 4)), "live/room_2.mp4.tmp");
    let salvage = start_root(&house, &["--reprocess", "salvage"]);
    Worker::start(&house, "a").ended().expect_code(0);
    assert_eq!(outcomes(&house, &salvage), [("finished".to_owned(), 2)].into());
    let vods = "SELECT string_agg(vod_name || ' ' || (record->>'salvaged'), ', ' ORDER BY vod_name) FROM aftercast.vod";
    assert_eq!(postgres.sql(vods), "room_1.mp4 false, room_2.mp4 true");

    // Both, and the original that is kept.
    for (how, without) in [("memory = \"1MiB\"", Some(&3)), ("height = 240", None)] {
        fs::write(house.path().join("config.toml"), standard_config(house.path(), &pictures(how))).unwrap();
        let posters = start_root(&house, &["--reprocess", "posters"]);
        let run = Worker::start(&house, "a").ended().expect_code(0);
        assert_eq!(outcomes(&house, &posters).get("no poster"), without, "{:?} {run:?}", status(&house, &posters));
    }
    let made: Vec<_> = tree(&house.root()).into_keys().filter(|name| name.contains("previews/")).collect();
    assert_eq!(made, ["live/previews/room_1.jpg", "live/previews/room_2.jpg"]);
}

#[test]
fn a_worker_that_cannot_use_the_database_ends_and_says_what_to_do() {
    let postgres = Postgres::start();
    let wrong = Sandbox::with_config(|dir| {
        fs::write(dir.join("password"), "wrong\n").unwrap();
        let own = dir.join("password").display().to_string();
        standard_config(dir, &section(&postgres, "").replace(&postgres.password_file().display().to_string(), &own))
    });
    let said = Worker::start(&wrong, "a").ended().expect_code(5);
    assert!(
        said.err.contains("password authentication failed") && said.err.contains("fleet.password_file"),
        "{said:?}"
    );

    let house = house(&postgres);
    start_root(&house, &[]);
    postgres.sql("UPDATE aftercast.meta SET version = version + 1");
    let said = Worker::start(&house, "b").ended().expect_code(5);
    assert!(said.err.contains("Update aftercast on this node"), "{said:?}");
}

#[test]
fn a_worker_that_is_killed_leaves_its_recording_to_its_next_life_and_to_others() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    for n in 0..4 {
        house.put(&made("flv", 2), &format!("room{n}.flv"));
    }
    start_root(&house, &[]);
    lease(&postgres, 10);
    let mut killed = Worker::start_with(&house, "a", &[("AFTERCAST_KILL_AFTER", "partial synced:2")]);
    assert_eq!(killed.ended().code(), -1);
    let held = "SELECT count(*) FROM aftercast.work WHERE state = 'leased' AND is_begun";
    assert_eq!(postgres.sql(held), "1");
    let left = "SELECT count(*) FROM aftercast.work WHERE kind <> 'list' AND state <> 'done'";
    let left: usize = postgres.sql(left).parse().unwrap();
    // Its own next life needs no lease to end, and leaves nothing half done there.
    let ended = Worker::start(&house, "a").ended().expect_code(0);
    assert_eq!(ended_as(&[ended], "done").len(), left);
    assert_each_once(&postgres, &house, 4);
    assert_eq!(postgres.sql("SELECT sum(deaths), max(attempt) FROM aftercast.work"), "1|0");
    // Another worker waits for the end of the lease. What was made of the others is no recording of its own.
    for n in 4..8 {
        house.put(&made("flv", 2), &format!("room{n}.flv"));
    }
    start_root(&house, &[]);
    let mut killed = Worker::start_with(&house, "b", &[("AFTERCAST_KILL_AFTER", "partial synced:1")]);
    assert_eq!(killed.ended().code(), -1);
    Worker::start(&house, "c").ended().expect_code(0);
    let items = "SELECT count(*) FROM aftercast.work WHERE kind <> 'list' AND state = 'done' AND item LIKE '%.flv'";
    assert_eq!(postgres.sql(items), "8");
    let names = "SELECT count(*), count(DISTINCT vod_name) FROM aftercast.vod";
    assert_eq!(postgres.sql(names), "8|8");
}

#[test]
fn a_recording_that_two_workers_died_of_is_quarantined_and_the_others_are_done() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    house.put(&made("flv", 2), "deadly.flv");
    let batch = start_root(&house, &[]);
    lease(&postgres, 10);
    for name in ["a", "b"] {
        let kill = [("AFTERCAST_KILL_AFTER", "partial synced:1")];
        assert_eq!(Worker::start_with(&house, name, &kill).ended().code(), -1);
    }
    fill(&house, 3);
    let ended = Worker::start(&house, "c").ended().expect_code(0);
    assert!(ended_as(&[ended], "done").is_empty());
    let status = status(&house, &batch);
    assert_eq!((&status["quarantined"], &status["state"]), (&1.into(), &"done".into()), "{status}");
    assert!(status.to_string().contains("two processes ended while they worked on it"), "{status}");
    assert!(house.root().join("deadly.flv").exists());
    start_root(&house, &[]);
    Worker::start(&house, "c").ended().expect_code(0);
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.vod"), "4", "a new batch tries it again");
}

#[test]
fn a_worker_that_was_suspended_publishes_and_removes_nothing() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    house.put(&made("flv", 2), "room.flv");
    start_root(&house, &[]);
    lease(&postgres, 10);
    // Suspended when the finished file is complete, right before it gets its name.
    let mut zombie = Worker::start_with(&house, "zombie", &[("AFTERCAST_STOP_AFTER", "partial synced:1")]);
    until("the worker is suspended", || is_suspended(zombie.child.id()).then_some(()));
    let ended = Worker::start(&house, "other").ended().expect_code(0);
    assert_eq!(ended_as(&[ended], "done").len(), 1);
    let after = tree(&house.root());
    assert!(after.contains_key("room.mp4") && !after.contains_key("room.flv"), "{after:?}");
    zombie.signal("CONT");
    let woken = zombie.ended().expect_code(0);
    assert_eq!(ended_as(&[woken], "taken over").len(), 1);
    assert_eq!(tree(&house.root())["room.mp4"], after["room.mp4"]);
    assert!(!house.root().join("room_1.mp4").exists());
    assert_each_once(&postgres, &house, 1);
    assert_eq!(postgres.sql("SELECT n.name FROM aftercast.vod JOIN aftercast.node n USING (node_id)"), "other");
}

#[test]
fn a_database_that_is_killed_and_comes_back_costs_no_recording_and_none_is_done_twice() {
    let mut postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 60);
    start_root(&house, &[]);
    let mut workers = ["a", "b"].map(|name| Worker::start(&house, name));
    for so_many in [5, 25] {
        let done = "SELECT count(*) FROM aftercast.work WHERE kind <> 'list' AND state = 'done'";
        until("some are done", || (postgres.sql(done).parse::<usize>().unwrap() >= so_many).then_some(()));
        postgres.stop_immediately();
        postgres.begin();
    }
    let ended: Vec<_> = workers.iter_mut().map(|worker| worker.ended().expect_code(0)).collect();
    let done = ended_as(&ended, "done");
    assert!(done.values().all(|count| *count == 1), "{done:?}");
    assert_each_once(&postgres, &house, 60);
}

#[test]
fn a_batch_is_paused_resumed_and_canceled() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 5);
    let batch = start_root(&house, &["--rate", "6000/min"]);
    house.run(&["batch", "pause", &batch]).expect_code(0);
    let idle = Worker::start(&house, "a").ended().expect_code(0);
    assert!(ended_as(&[idle], "done").is_empty());
    assert_eq!(status(&house, &batch)["state"], "paused");
    house.run(&["batch", "resume", &batch]).expect_code(0);
    Worker::start(&house, "a").ended().expect_code(0);
    assert_each_once(&postgres, &house, 5);
    assert_eq!(postgres.sql("SELECT rate, next_at > started_at FROM aftercast.batch"), "100|t");
    assert_eq!(postgres.sql("SELECT state, summary IS NOT NULL FROM aftercast.batch"), "done|t");
    let other = start_root(&house, &["--reprocess", "verify"]);
    let canceled = house.run(&["batch", "cancel", &other]).expect_code(0);
    assert!(canceled.out.contains(&format!("Batch {other} is canceled.")), "{}", canceled.out);
    let idle = Worker::start(&house, "a").ended().expect_code(0);
    assert!(ended_as(&[idle], "done").is_empty());
    let refused = house.run(&["batch", "resume", &other]).expect_code(4);
    assert!(refused.err.contains("is canceled"), "{}", refused.err);
    house.run(&["batch", "cancel", &other]).expect_code(0);
    let unknown = house.run(&["batch", "status", "999"]).expect_code(4);
    assert!(unknown.err.contains("no batch has the id 999"), "{}", unknown.err);
    start_root(&house, &["--reprocess", "verify"]);
}

#[test]
fn a_worker_whose_surroundings_fail_takes_no_more_work_and_costs_no_attempt() {
    surroundings_fail(&[]);
}

#[test]
fn a_target_that_is_down_does_not_hold_up_a_worker_that_only_delivers() {
    surroundings_fail(&["--reprocess", "deliver"]);
}

#[track_caller]
fn surroundings_fail(what: &[&str]) {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 8);
    start_root(&house, what);
    // No directory can be made there.
    let elsewhere = [("AFTERCAST_DELIVER__TARGET__0__URL", "file:///sys/aftercast")];
    let drained = Worker::start_with(&house, "bad", &elsewhere).ended().expect_code(5);
    assert!(drained.out.contains("5 failures in a row"), "{}\n{}", drained.out, drained.err);
    assert_eq!(
        postgres.sql("SELECT name, drain_reason LIKE '5 failures%' FROM aftercast.node WHERE drained_at IS NOT NULL"),
        "bad|t"
    );
    let counted = "SELECT max(attempt), max(deaths), count(*) FILTER (WHERE given_back > 0), count(*) FILTER (WHERE state = 'leased') \
                   FROM aftercast.work";
    assert_eq!(postgres.sql(counted), "0|0|5|0");
    Worker::start(&house, "good").ended().expect_code(0);
    let done = "SELECT count(*) FROM aftercast.work WHERE kind <> 'list' AND state = 'done'";
    assert_eq!(postgres.sql(done), "8");
    assert_eq!(tree(&house.store()).len(), 8);
}

#[test]
fn a_worker_that_is_told_to_stop_gives_back_what_it_holds() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 300);
    start_root(&house, &[]);
    let mut worker = Worker::start(&house, "a");
    until("it works", || worker.said().contains("taking work").then_some(()));
    let done = "SELECT count(*) FROM aftercast.work WHERE kind <> 'list' AND state = 'done'";
    until("some are done", || (postgres.sql(done) != "0").then_some(()));
    worker.signal("TERM");
    worker.ended().expect_code(130);
    let counted = "SELECT count(*) FILTER (WHERE state = 'leased'), max(attempt), max(deaths), max(given_back) FROM aftercast.work";
    assert_eq!(postgres.sql(counted), "0|0|0|0");
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.node WHERE stopped_at IS NULL"), "0");
}

/// As after a standby took over that lacks the last changes.
#[test]
fn what_a_worker_has_ended_and_the_database_has_lost_is_done_again() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 5);
    start_root(&house, &["--rate", "1"]);
    let mut worker = Worker::start(&house, "a");
    let done = "SELECT count(*), max(deaths) FROM aftercast.work WHERE kind <> 'list' AND state = 'done'";
    until("one is done", || (!postgres.sql(done).starts_with('0')).then_some(()));
    postgres.sql(
        "UPDATE aftercast.work w SET state = 'leased', lease_node = n.node_id, lease_epoch = n.epoch, token = nextval('aftercast.token'), \
           is_begun = true, ended_at = NULL FROM aftercast.node n \
         WHERE n.is_worker AND w.work_id = (SELECT min(work_id) FROM aftercast.work WHERE kind <> 'list' AND state = 'done')",
    );
    let ended = worker.ended().expect_code(0);
    assert!(ended.err.contains("has lost results of this node"), "{}", ended.err);
    assert_eq!(postgres.sql(done), "5|0");
}

#[test]
fn a_recording_that_a_stop_meets_right_before_it_is_published_is_done_or_given_back_whole() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    house.put(&made("flv", 2), "room.flv");
    start_root(&house, &[]);
    let mut worker = Worker::start_with(&house, "a", &[("AFTERCAST_STOP_AFTER", "partial synced:1")]);
    until("the worker is suspended", || is_suspended(worker.child.id()).then_some(()));
    worker.signal("TERM");
    worker.signal("CONT");
    worker.ended().expect_code(130);
    let item = "SELECT state FROM aftercast.work WHERE kind <> 'list'";
    let (state, files) = (postgres.sql(item), tree(&house.root()));
    let is_published = files.contains_key("room.mp4");
    assert_ne!(is_published, files.contains_key("room.flv"), "{files:?}");
    assert!(state == "ready" || (state == "done" && is_published), "{state} {files:?}");
    let asked = "SELECT intent->>'path' IS NOT NULL FROM aftercast.work WHERE kind <> 'list'";
    assert!(!is_published || postgres.sql(asked) == "t", "published without asking");
    Worker::start(&house, "a").ended().expect_code(0);
    assert_eq!(postgres.sql(item), "done");
    assert_eq!(tree(&house.store()).len(), 1);
}

#[test]
fn a_directory_of_another_node_that_is_alive_is_left_alone() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 3);
    start_root(&house, &["--reprocess", "verify"]);
    Worker::start(&house, "a").ended().expect_code(0);
    let node = postgres
        .sql("UPDATE aftercast.node SET stopped_at = NULL, seen_at = now() + interval '1 hour' RETURNING node_id");
    let node = node.lines().next().unwrap().to_owned();
    let file = house.root().join(".aftercast-root");
    let mut says: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    says["nodeId"] = node.into();
    fs::write(&file, says.to_string()).unwrap();
    start_root(&house, &[]);
    let refused = Worker::start(&house, "b").ended().expect_code(5);
    assert!(refused.err.contains("belongs to the node `a`"), "{}", refused.err);
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.vod"), "0");
}

#[test]
fn a_clock_that_is_an_hour_off_changes_nothing() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 12);
    start_root(&house, &[]);
    lease(&postgres, 10);
    let library = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ];
    let library = library.into_iter().find(|path| Path::new(path).exists()).expect("faketime is not installed");
    // The wall clock alone: the monotonic one is set by nobody.
    let ahead = [("LD_PRELOAD", library), ("FAKETIME", "+1h"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let mut workers = [Worker::start_with(&house, "ahead", &ahead), Worker::start(&house, "right")];
    let ended: Vec<_> = workers.iter_mut().map(|worker| worker.ended().expect_code(0)).collect();
    let done = ended_as(&ended, "done");
    assert!(done.len() == 12 && done.values().all(|count| *count == 1), "{done:?}");
    assert_each_once(&postgres, &house, 12);
    assert_eq!(postgres.sql("SELECT sum(deaths) FROM aftercast.work"), "0");
}

#[test]
fn a_directory_that_is_another_one_here_is_not_worked_on() {
    let postgres = Postgres::start();
    let house = house(&postgres);
    fill(&house, 3);
    start_root(&house, &[]);
    fs::rename(house.root(), house.path().join("mounted")).unwrap();
    fs::create_dir(house.root()).unwrap();
    let elsewhere = Worker::start(&house, "a").ended().expect_code(5);
    assert!(elsewhere.err.contains("is not the same directory on this node"), "{}", elsewhere.err);
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.work WHERE state <> 'ready' OR attempt > 0"), "0");
    fs::remove_dir(house.root()).unwrap();
    fs::rename(house.path().join("mounted"), house.root()).unwrap();
    Worker::start(&house, "a").ended().expect_code(0);
    assert_each_once(&postgres, &house, 3);
}

#[test]
fn objects_of_a_bucket_are_finished_once_and_a_suspended_worker_changes_nothing_there() {
    let (postgres, server) = (Postgres::start(), s3());
    let target = server.bucket("batch-objects");
    let house = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], &section(&postgres, "")));
    let flv = fs::read(made("flv", 2)).unwrap();
    for n in 0..6 {
        put(&target, &format!("old/room{n}.flv"), flv.clone());
    }
    put(&target, "old/done.mp4", fs::read(made("mp4-faststart", 2)).unwrap());
    let batch = start(&house, "s3://batch-objects/old", &[]);
    lease(&postgres, 10);
    let mut zombie = Worker::start_with(&house, "zombie", &[("AFTERCAST_STOP_AFTER", "partial synced:1")]);
    until("the worker is suspended", || is_suspended(zombie.child.id()).then_some(()));
    let mut others = ["a", "b"].map(|name| Worker::start(&house, name));
    let ended: Vec<_> = others.iter_mut().map(|worker| worker.ended().expect_code(0)).collect();
    let keys = || server.listing("batch-objects").into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let (done, after) = (ended_as(&ended, "done"), keys());
    assert!(done.values().all(|count| *count == 1), "{done:?}");
    assert_eq!(after.iter().filter(|key| Path::new(key).extension() == Some("mp4".as_ref())).count(), 7, "{after:?}");
    let made: Vec<_> = (0..6).map(|n| see(&target, &format!("old/room{n}.mp4")).bytes).collect();
    zombie.signal("CONT");
    let woken = zombie.ended().expect_code(0);
    assert_eq!(ended_as(&[woken], "taken over").len(), 1);
    assert_eq!(keys(), after);
    for (n, bytes) in made.iter().enumerate() {
        assert!(
            see(&target, &format!("old/room{n}.mp4")).bytes == *bytes
                && see(&target, &format!("old/room{n}.flv")).bytes == flv
        );
    }
    let status = status(&house, &batch);
    assert_eq!((&status["done"], &status["state"]), (&7.into(), &"done".into()), "{status}");
    let refused =
        house.run(&["batch", "start", "--root", "s3://batch-objects/old", "--reprocess", "posters"]).expect_code(2);
    assert!(refused.err.contains("have no record"), "{}", refused.err);
}

#[test]
fn without_a_database_the_way_without_one_is_said() {
    let house = Sandbox::new();
    for args in [&["batch", "status"][..], &["work", "--stop-when-empty"]] {
        let refused = house.run(args).expect_code(3);
        assert!(refused.err.contains("`[fleet] database`") && refused.err.contains("--shard"), "{}", refused.err);
    }
}
