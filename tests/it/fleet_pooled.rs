//! Nodes that reach PostgreSQL through pgbouncer, which pools transactions: what one transaction leaves in a session is not there for the
//! next one, or another node finds it there.

use std::collections::BTreeSet;

use super::fleet::{id_of, node, record, until_listed, until_told};
use super::fleet_batch::{fill, house, start_root};
use super::fleet_objects;
use super::fleet_peers::whole_feed;
use super::shared_roots::{put, sharing};
use crate::support::daemon::{Daemon, until};
use crate::support::postgres::Postgres;
use crate::support::stores::s3;

/// Each transaction has a session of its own, which ends with it.
const ONE_EACH: &str = "default_pool_size = 3\nserver_lifetime = 0\n";
/// All transactions of all nodes are in one session, one after the other.
const ONE_FOR_ALL: &str = "default_pool_size = 1\n";

#[test]
fn every_transaction_may_have_a_session_of_its_own() {
    let log = everything_through(ONE_EACH, "pooled-each");
    assert!(sessions(&log) > 100, "{} sessions", sessions(&log));
}

#[test]
fn all_nodes_may_share_one_session() {
    let log = everything_through(ONE_FOR_ALL, "pooled-all");
    assert!(sessions(&log) < 50, "{} sessions", sessions(&log));
}

/// Nodes make the tables, list, command, feed, share a directory, take keys of a store and work of a batch, and live through a restart of
/// the server. Answers what the server has logged.
fn everything_through(pooling: &str, bucket: &str) -> String {
    let mut postgres = Postgres::pooled(pooling);
    let (server, shared) = (s3(), tempfile::tempdir().unwrap());
    let target = server.bucket(bucket);
    let [a, b] = ["a", "b"].map(|name| node(&postgres, name));
    let partner = sharing(&postgres, "sharer", shared.path(), "");
    let uploader = fleet_objects::node(&postgres, "uploader", &target);
    // All four come to a database without tables at the same time.
    let daemons = [&a, &b, &partner, &uploader].map(Daemon::start);
    for (node, name) in [(&a, "one.mp4"), (&b, "two.mp4"), (&b, "three.mp4"), (&uploader, "four.mp4")] {
        record(node, name);
    }
    let all = [("a", "one.mp4"), ("b", "two.mp4"), ("b", "three.mp4"), ("uploader", "four.mp4")];
    until_listed(&a, &all);
    for daemon in &daemons {
        assert!(!daemon.log().contains("fleet database failed"), "{}", daemon.log());
    }
    fleet_objects::until_keys(&server, bucket, &["four.mp4"]);
    let verified = a.run(&["vod", "verify", &id_of(&a, "two.mp4")]).expect_code(0);
    assert!(verified.out.contains("as proven"), "{}", verified.out);
    a.run(&["vod", "delete", &id_of(&a, "three.mp4"), "--yes"]).expect_code(0);
    until_listed(&a, &[all[0], all[1], all[3]]);
    [&a, &b].into_iter().for_each(until_told);
    let feed: BTreeSet<_> = whole_feed(&a).iter().map(|event| event["node"]["name"].to_string()).collect();
    assert!(feed.contains("\"a\"") && feed.contains("\"b\""), "{feed:?}");
    postgres.stop_immediately();
    postgres.begin();
    record(&a, "five.mp4");
    until_listed(&b, &[("a", "one.mp4"), ("b", "two.mp4"), ("uploader", "four.mp4"), ("a", "five.mp4")]);
    put(shared.path(), 6);
    until("the shared directory is worked off", || (done(&postgres, "shared_item") == "6").then_some(()));
    daemons.into_iter().for_each(Daemon::stop);
    let worker = house(&postgres);
    fill(&worker, 6);
    start_root(&worker, &[]);
    worker.run(&["work", "--stop-when-empty"]).expect_code(0);
    assert_eq!(done(&postgres, "work"), "6");
    let log = postgres.log();
    leaves_nothing(&log);
    log
}

fn done(postgres: &Postgres, table: &str) -> String {
    postgres.sql(&format!("SELECT count(*) FROM aftercast.{table} WHERE state = 'done' AND item LIKE '%.%'"))
}

/// Sessions of the server in which nodes did something.
fn sessions(log: &str) -> usize {
    log.lines().filter_map(|line| line.split_once(" aftercast ")).map(|(pid, _)| pid).collect::<BTreeSet<_>>().len()
}

/// Nothing that a node said needs the session of what it said before, or changes it for what others say there.
fn leaves_nothing(log: &str) {
    let said: Vec<_> =
        log.lines().filter_map(|line| line.split_once(" aftercast LOG:  ")).map(|(_, said)| said).collect();
    assert!(said.iter().any(|said| said.starts_with("execute <unnamed>: ")), "nothing is logged: {log}");
    for said in said {
        assert!(!said.starts_with("execute ") || said.starts_with("execute <unnamed>: "), "a named statement: {said}");
        let upper = said.to_uppercase();
        for word in
            ["LISTEN ", "NOTIFY ", "PREPARE ", "DECLARE ", "TEMPORARY", "PG_ADVISORY_LOCK", "PG_TRY_ADVISORY_LOCK"]
        {
            assert!(!upper.contains(word), "{word}: {said}");
        }
        let statements: Vec<_> =
            said.split_once(": ").map_or("", |(_, statements)| statements).split(';').map(str::trim).collect();
        // A process that is suspended between two messages would keep the connection of a transaction without limits.
        let begins =
            statements.iter().any(|statement| statement.starts_with("BEGIN") || statement.starts_with("START "));
        assert!(!begins || said.contains("SET LOCAL idle_in_transaction_session_timeout"), "no end: {said}");
        for set in statements.into_iter().filter(|statement| statement.starts_with("SET ")) {
            // The pooler itself gives a session what its client has said at the start.
            let is_poolers = ["SET application_name", "SET client_encoding"].iter().any(|own| set.starts_with(own));
            assert!(set.starts_with("SET LOCAL ") || is_poolers, "{said}");
        }
    }
}
