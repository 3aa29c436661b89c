//! Shared work, asked for directly: each item is done once, whoever wakes up late changes nothing, and what kills its holders is given
//! to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aftercast::catalog::Catalog;
use aftercast::clock::Clock;
use aftercast::fault::Class;
use aftercast::fleet::{
    BatchSpec, Batches, Fleet, FleetHome, FleetOptions, NewWork, PageRules, SharedWork, WorkFailure, WorkItem,
    WorkResult, WorkScope,
};
use aftercast::runtime::Runtime;
use aftercast::stop::Stop;
use serde_json::json;

use crate::support::archive;
use crate::support::daemon::until;
use crate::support::postgres::Postgres;

pub(super) const SCOPE: WorkScope<'_> = WorkScope::Root { kind: "test", root: "here" };

fn options(postgres: &Postgres, name: &str) -> FleetOptions {
    FleetOptions {
        database: Some(postgres.url()),
        password_file: Some(postgres.password_file()),
        name: Some(name.to_owned()),
        ..FleetOptions::default()
    }
}

/// A node in this process.
pub(super) struct Node {
    pub fleet: Fleet,
    stop: Stop,
    pub catalog: Catalog,
    _dir: tempfile::TempDir,
}

impl Node {
    pub fn start(postgres: &Postgres, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = options(postgres, name);
        let (catalog, stop) = (Catalog::open(dir.path()).unwrap(), Stop::default());
        let runtime = Runtime::start().unwrap();
        let clock = Clock::default();
        let home = FleetHome {
            shared: catalog.shared(),
            state_dir: dir.path(),
            runtime: &runtime,
            clock: &clock,
            stop: &stop,
        };
        let fleet = Fleet::open(&options, BTreeMap::new(), home).unwrap();
        fleet.begin();
        let node = Self { fleet, stop, catalog, _dir: dir };
        until("the node may claim", || node.work().claim(SCOPE, 1).ok());
        node
    }

    pub fn work(&self) -> SharedWork {
        self.fleet.work()
    }

    /// The only item that it can claim.
    pub fn claim_one(&self) -> WorkItem {
        until("an item is claimed", || self.work().claim(SCOPE, 1).ok()?.pop())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.request();
        self.fleet.join();
    }
}

/// A node's process is another one now, as far as the database knows: what it held is free. It finds that out and goes on under a new
/// epoch.
fn lose(postgres: &Postgres, name: &str) {
    postgres.sql(&format!("UPDATE aftercast.node SET epoch = epoch + 1 WHERE name = '{name}'"));
}

pub(super) fn new_work(item: &str) -> NewWork {
    NewWork { kind: "test".into(), root: "here".into(), item: item.to_owned(), ..NewWork::default() }
}

pub(super) fn done() -> WorkResult {
    WorkResult { outcome: "finished".into(), details: json!({ "nul": "a\0b" }), vod: None }
}

fn failure(class: Class) -> WorkFailure {
    WorkFailure { class, reason: "no".into(), message: "no such thing".into() }
}

/// Everything that failed may be claimed at once.
fn make_due(postgres: &Postgres) {
    postgres.sql("UPDATE aftercast.work SET due_at = now()");
}

#[test]
fn every_item_is_done_once_by_nodes_that_claim_at_the_same_time() {
    let postgres = Postgres::start();
    let nodes = ["a", "b", "c", "d"].map(|name| Node::start(&postgres, name));
    let items: Vec<_> = (0..500).map(|n| new_work(&format!("{n}"))).collect();
    assert_eq!(nodes[0].work().enqueue(&items).unwrap(), 500);
    assert_eq!(nodes[1].work().enqueue(&items).unwrap(), 0, "the same work again");
    let work_off = |node: &Node| {
        let (work, mut accepted) = (node.work(), Vec::new());
        loop {
            let claimed = work.claim(SCOPE, 7).unwrap();
            if claimed.is_empty() {
                return accepted;
            }
            for item in claimed {
                assert!(work.begin(&item).unwrap() && work.is_still_mine(&item, None).unwrap());
                // The answer may be lost: said again, it is as it was.
                assert!(work.finish(&item, &done()).unwrap() && work.finish(&item, &done()).unwrap());
                assert!(!work.begin(&item).unwrap() && !work.fail(&item, &failure(Class::Permanent)).unwrap());
                accepted.push((item.item, item.token));
            }
        }
    };
    let accepted: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = nodes.iter().map(|node| scope.spawn(|| work_off(node))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let names: BTreeSet<_> = accepted.iter().map(|(name, _)| name).collect();
    let tokens: BTreeSet<_> = accepted.iter().map(|(_, token)| token).collect();
    assert_eq!((accepted.len(), names.len(), tokens.len()), (500, 500, 500));
    assert_eq!(
        postgres.sql("SELECT count(*) FROM aftercast.work WHERE state = 'done' AND result->>'nul' = E'a\\ufffdb'"),
        "500"
    );
}

#[test]
fn whoever_wakes_up_late_can_change_nothing() {
    let postgres = Postgres::start();
    let (a, b) = (Node::start(&postgres, "a"), Node::start(&postgres, "b"));
    a.work().enqueue(&[new_work("x")]).unwrap();
    let late = a.claim_one();
    assert!(a.work().begin(&late).unwrap());
    let intent = json!({ "path": "x.mp4" });
    assert!(a.work().is_still_mine(&late, Some(&intent)).unwrap());
    assert!(b.work().claim(SCOPE, 10).unwrap().is_empty(), "it is a's");
    lose(&postgres, "a");
    let taken = b.claim_one();
    let noted = json!({ "path": "x.mp4", "node": a.fleet.node_id(), "nodes": [a.fleet.node_id()] });
    assert!(taken.token > late.token && taken.intent == Some(noted));
    // Neither under the old epoch nor under the next one.
    assert!(!a.work().is_still_mine(&late, None).unwrap_or(false));
    until("a goes on", || a.work().claim(SCOPE, 1).ok().filter(Vec::is_empty));
    assert!(!a.work().is_still_mine(&late, None).unwrap());
    assert!(!a.work().begin(&late).unwrap());
    assert!(!a.work().finish(&late, &done()).unwrap());
    assert!(!a.work().fail(&late, &failure(Class::Permanent)).unwrap());
    assert_eq!(a.work().give_back(&[&late], Duration::ZERO).unwrap(), 0);
    assert!(b.work().finish(&taken, &done()).unwrap());
    let row =
        "SELECT state, token, deaths, (SELECT name FROM aftercast.node WHERE node_id = lease_node) FROM aftercast.work";
    assert_eq!(postgres.sql(row), format!("done|{}|1|b", taken.token));
}

#[test]
fn a_record_is_written_with_the_result_or_not_at_all() {
    let postgres = Postgres::start();
    let (a, b) = (Node::start(&postgres, "a"), Node::start(&postgres, "b"));
    a.work().enqueue(&[new_work("x")]).unwrap();
    let with_vod = |number: u64| {
        let vod = archive::vod(Path::new("/recordings"), number, 1, None).unwrap();
        WorkResult { vod: Some((vod, number)), ..done() }
    };
    let late = a.claim_one();
    lose(&postgres, "a");
    let taken = b.claim_one();
    assert!(!a.work().finish(&late, &with_vod(1)).unwrap());
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.vod"), "0");
    assert!(b.work().finish(&taken, &with_vod(2)).unwrap());
    let vods = "SELECT name, rev FROM aftercast.vod JOIN aftercast.node USING (node_id)";
    assert_eq!(postgres.sql(vods), "b|2");
}

#[test]
fn who_was_told_that_an_item_is_still_its_own_keeps_it_for_a_lease_without_heartbeats() {
    let postgres = Postgres::start();
    let (a, b) = (Node::start(&postgres, "a"), Node::start(&postgres, "b"));
    a.work().enqueue(&[new_work("x")]).unwrap();
    let item = a.claim_one();
    assert!(a.work().is_still_mine(&item, None).unwrap());
    a.work().enqueue(&[new_work("unheld")]).unwrap();
    let unheld = a.claim_one();
    a.stop.request();
    a.fleet.join();
    // As if it had been killed: its row says neither that it ended nor that it was heard of, and its work is its own.
    postgres.sql(&format!(
        "UPDATE aftercast.work SET state = 'leased', token = CASE item WHEN 'x' THEN {} ELSE {} END, lease_node = node_id, \
         lease_epoch = epoch, held_until = CASE item WHEN 'x' THEN now() + interval '1 hour' END \
         FROM aftercast.node WHERE name = 'a'",
        item.token, unheld.token
    ));
    postgres.sql("UPDATE aftercast.node SET stopped_at = NULL, seen_at = now() - interval '1 hour' WHERE name = 'a'");
    assert_eq!(b.claim_one().item, "unheld", "a is taken for dead");
    assert!(b.work().claim(SCOPE, 1).unwrap().is_empty(), "it is about to take a step that cannot be undone");
    postgres.sql("UPDATE aftercast.work SET held_until = now() - interval '1 second'");
    assert_eq!(b.claim_one().item, "x");
}

#[test]
fn what_two_holders_died_of_is_quarantined_and_what_was_only_claimed_is_not() {
    let postgres = Postgres::start();
    let (a, b) = (Node::start(&postgres, "a"), Node::start(&postgres, "b"));
    a.work().enqueue(&[new_work("deadly"), new_work("beside")]).unwrap();
    for deaths in 1..=2 {
        let claimed = until("both are claimed", || a.work().claim(SCOPE, 10).ok().filter(|claimed| claimed.len() == 2));
        let deadly = claimed.iter().find(|item| item.item == "deadly").unwrap();
        assert!(a.work().begin(deadly).unwrap());
        lose(&postgres, "a");
        let free =
            until("what it held is free", || b.work().claim(SCOPE, 10).ok().filter(|claimed| !claimed.is_empty()));
        assert_eq!(free.len(), if deaths == 1 { 2 } else { 1 });
        b.work().give_back(&free.iter().collect::<Vec<_>>(), Duration::ZERO).unwrap();
    }
    let rows = "SELECT item, state, deaths, reason FROM aftercast.work ORDER BY item";
    let expected = "beside|ready|0|\ndeadly|quarantined|2|two processes ended while they worked on it";
    assert_eq!(postgres.sql(rows), expected);
}

#[test]
fn failures_count_by_their_class() {
    let postgres = Postgres::start();
    let node = Node::start(&postgres, "a");
    let (work, attempts) = (node.work(), "SELECT state, attempt, given_back FROM aftercast.work WHERE item = ");
    work.enqueue(&[new_work("x")]).unwrap();
    for returns in 1..=3 {
        assert!(work.fail(&node.claim_one(), &failure(Class::Environment)).unwrap());
        assert_eq!(postgres.sql(&format!("{attempts}'x'")), format!("ready|0|{returns}"));
        assert!(work.claim(SCOPE, 1).unwrap().is_empty(), "not before a pause");
        make_due(&postgres);
    }
    for tries in 1..=5 {
        assert!(work.fail(&node.claim_one(), &failure(Class::Transient)).unwrap());
        let state = if tries == 5 { "failed" } else { "ready" };
        assert_eq!(postgres.sql(&format!("{attempts}'x'")), format!("{state}|{tries}|3"));
        make_due(&postgres);
    }
    work.enqueue(&[new_work("y")]).unwrap();
    assert!(work.fail(&node.claim_one(), &failure(Class::Permanent)).unwrap());
    assert_eq!(postgres.sql(&format!("{attempts}'y'")), "failed|1|0");
    // What no node can do anything about does not go round for ever.
    work.enqueue(&[new_work("z")]).unwrap();
    for _ in 0..8 {
        assert!(work.fail(&node.claim_one(), &failure(Class::Environment)).unwrap());
        make_due(&postgres);
    }
    assert_eq!(postgres.sql(&format!("{attempts}'z'")), "failed|0|8");
}

#[test]
fn a_node_that_drains_gives_back_what_it_holds_and_claims_nothing_until_its_next_start() {
    let postgres = Postgres::start();
    let (a, b) = (Node::start(&postgres, "a"), Node::start(&postgres, "b"));
    a.work().enqueue(&[new_work("x"), new_work("y")]).unwrap();
    assert_eq!(a.work().claim(SCOPE, 2).unwrap().len(), 2);
    a.work().drain("the share is not mounted").unwrap();
    assert!(a.work().claim(SCOPE, 2).unwrap().is_empty());
    assert_eq!(
        postgres.sql("SELECT name FROM aftercast.node WHERE drained_at IS NOT NULL AND drain_reason LIKE 'the share%'"),
        "a"
    );
    let claimed = b.work().claim(SCOPE, 2).unwrap();
    assert_eq!(claimed.len(), 2);
    b.work().give_back(&claimed.iter().collect::<Vec<_>>(), Duration::ZERO).unwrap();
    a.work().enroll().unwrap();
    assert_eq!(a.work().claim(SCOPE, 2).unwrap().len(), 2);
    let counted = "SELECT count(*) FROM aftercast.work WHERE attempt + given_back + deaths > 0";
    assert_eq!(postgres.sql(counted), "0");
}

#[test]
fn a_node_that_ends_in_order_leaves_its_work_to_others_at_once() {
    let postgres = Postgres::start();
    let (a, b) = (Node::start(&postgres, "a"), Node::start(&postgres, "b"));
    a.work().enqueue(&[new_work("x")]).unwrap();
    let item = a.claim_one();
    assert!(a.work().begin(&item).unwrap());
    let needed = a.fleet.needed();
    a.stop.request();
    assert!(a.work().is_still_mine(&item, None).unwrap(), "it is still worked on");
    drop(needed);
    a.fleet.join();
    assert_eq!(b.claim_one().item, "x");
    assert_eq!(postgres.sql("SELECT deaths FROM aftercast.work"), "0");
}

#[test]
fn the_longest_path_is_an_item() {
    let postgres = Postgres::start();
    let node = Node::start(&postgres, "a");
    // Of many different characters, which do not become shorter in an index.
    let path: String = (0..4_000_u32).filter_map(|n| char::from_u32(0x4e00 + n * 7 % 20_000)).collect();
    assert!(Path::new(&path).as_os_str().len() > 8_000);
    assert_eq!(node.work().enqueue(&[new_work(&path), new_work(&path)]).unwrap(), 1);
    assert_eq!(node.claim_one().item, path);
}

#[test]
fn a_late_page_of_a_canceled_batch_takes_nothing_from_the_next_one() {
    let postgres = Postgres::start();
    let (a, b) = (Node::start(&postgres, "a"), Node::start(&postgres, "b"));
    let runtime = Runtime::start().unwrap();
    let batches = Batches::open(&options(&postgres, "c"), &runtime).unwrap();
    let spec = BatchSpec { kind: "test".into(), root: "here".into(), root_id: None, rate: None };
    let page_of =
        |node: &Node, id: i64| until("the page is claimed", || node.work().claim(WorkScope::Batch(id), 1).ok()?.pop());
    let found = |id: i64| [NewWork { batch_id: Some(id), ..new_work("x") }];
    let rules = PageRules { repeats: true, skips_results: false };
    let first = batches.start(&spec).unwrap();
    let late = page_of(&a, first);
    batches.cancel(first).unwrap();
    let second = batches.start(&spec).unwrap();
    let page = page_of(&b, second);
    assert!(b.work().finish_page(&page, &found(second), None, rules).unwrap());
    assert!(a.work().finish_page(&late, &found(first), Some("next"), rules).unwrap());
    let rows = "SELECT item, batch_id, state FROM aftercast.work WHERE kind <> 'list' OR item <> ''";
    assert_eq!(postgres.sql(rows), format!("x|{second}|ready"));
    // Nor does one whose batch is running still, but is the older one.
    postgres.sql(&format!("UPDATE aftercast.batch SET state = 'running', kind = 'older' WHERE batch_id = {first}"));
    assert!(a.work().finish_page(&late, &found(first), None, rules).unwrap());
    assert_eq!(postgres.sql(rows), format!("x|{second}|ready"));
}
