//! A key of a bucket is taken once among all nodes, before the upload; and never holds one up that the database cannot be asked about.

use std::collections::BTreeSet;
use std::fs;

use aftercast::deliver::TargetOptions;

use super::fleet::{section, until_connected, until_told};
use super::units::unit;
use crate::support::clients::put;
use crate::support::daemon::{Daemon, until};
use crate::support::postgres::Postgres;
use crate::support::recordings::{made, padded};
use crate::support::stores::{S3, s3};
use crate::support::{Sandbox, config_with_targets};

pub(super) fn node(postgres: &Postgres, name: &str, target: &TargetOptions) -> Sandbox {
    Sandbox::with_config(|dir| config_with_targets(dir, &[target], &section(postgres, name, "")))
}

pub(super) fn keys(server: &S3, bucket: &str) -> BTreeSet<String> {
    server.listing(bucket).into_iter().map(|(key, _)| key).collect()
}

#[track_caller]
pub(super) fn until_keys(server: &S3, bucket: &str, expected: &[&str]) {
    let expected: BTreeSet<_> = expected.iter().map(|key| format!("pre/{key}")).collect();
    until("the bucket has these objects", || (keys(server, bucket) == expected).then_some(()));
}

#[test]
fn a_key_is_taken_once_among_all_nodes_and_no_upload_waits_for_the_database() {
    let mut postgres = Postgres::start();
    let server = s3();
    let target = server.bucket("fleet-keys");
    let nodes = ["a", "b"].map(|name| node(&postgres, name, &target));
    let [a, b] = &nodes;
    let daemons = nodes.each_ref().map(Daemon::start);
    nodes.iter().for_each(until_connected);
    // One name, two recordings that begin alike.
    for (node, seed) in [(a, "one"), (b, "another one")] {
        fs::write(node.root().join("x.mp4"), padded(seed, 0)).unwrap();
    }
    until_keys(&server, "fleet-keys", &["x.mp4", "x_1.mp4"]);
    nodes.iter().for_each(until_told);
    let proven = "SELECT count(*), count(DISTINCT node_id) FROM aftercast.object WHERE state = 'proven' AND place LIKE '%/pre/x%'";
    until("both are noted", || (postgres.sql(proven) == "2|2").then_some(()));
    // Another node has taken a key and put nothing there yet.
    let endpoint = target.endpoint.as_deref().unwrap();
    postgres.sql(&format!(
        "INSERT INTO aftercast.object (place, asset_id, node_id, epoch) \
         SELECT '{endpoint} s3://fleet-keys/pre/y.mp4', 'other', node_id, 1 FROM aftercast.node WHERE name = 'b'"
    ));
    fs::write(a.root().join("y.mp4"), padded("y", 0)).unwrap();
    until_keys(&server, "fleet-keys", &["x.mp4", "x_1.mp4", "y_1.mp4"]);
    // One that was taken by a node that has been away for a day is free again.
    postgres.sql(
        "INSERT INTO aftercast.node (node_id, name, epoch, instance, host, version, stopped_at) \
                  VALUES (gen_random_uuid(), 'gone', 1, '', '', '', now() - interval '2 days')",
    );
    postgres.sql(&format!(
        "INSERT INTO aftercast.object (place, asset_id, node_id, epoch, claimed_at) \
         SELECT '{endpoint} s3://fleet-keys/pre/z.mp4', 'other', node_id, 1, now() - interval '2 days' FROM aftercast.node WHERE name = 'gone'"
    ));
    fs::write(a.root().join("z.mp4"), padded("z", 0)).unwrap();
    until_keys(&server, "fleet-keys", &["x.mp4", "x_1.mp4", "y_1.mp4", "z.mp4"]);
    // Without the database, by the store's answer alone; told later.
    postgres.stop_immediately();
    fs::write(b.root().join("late.mp4"), fs::read(made("mp4-faststart", 3)).unwrap()).unwrap();
    until_keys(&server, "fleet-keys", &["x.mp4", "x_1.mp4", "y_1.mp4", "z.mp4", "late.mp4"]);
    postgres.begin();
    let late = "SELECT state FROM aftercast.object WHERE place LIKE '%/pre/late.mp4'";
    until("it is told later", || (postgres.sql(late) == "proven").then_some(()));
    // The key of what was deleted is free.
    nodes.iter().for_each(until_told);
    let id = b.vods().iter().find(|vod| vod["vodName"] == "late.mp4").unwrap()["vodId"].as_str().unwrap().to_owned();
    b.run(&["vod", "delete", &id, "--yes"]).expect_code(0);
    until("its key is free", || postgres.sql(late).is_empty().then_some(()));
    until_keys(&server, "fleet-keys", &["x.mp4", "x_1.mp4", "y_1.mp4", "z.mp4"]);
    daemons.into_iter().for_each(Daemon::stop);
}

#[test]
fn what_a_node_has_itself_is_no_obstacle_and_what_stands_there_already_is_adopted() {
    let postgres = Postgres::start();
    let server = s3();
    let target = server.bucket("fleet-own-keys");
    let nodes = ["a", "b"].map(|name| node(&postgres, name, &target));
    let [a, b] = &nodes;
    let daemons = nodes.each_ref().map(Daemon::start);
    nodes.iter().for_each(until_connected);
    let endpoint = target.endpoint.as_deref().unwrap();
    let rows =
        |name: &str| postgres.sql(&format!("SELECT state FROM aftercast.object WHERE place LIKE '%/pre/{name}'"));
    // This node had the key for what the recording was before it changed.
    for (name, state) in [("x.mp4", "proven"), ("y.mp4", "claimed")] {
        postgres.sql(&format!(
            "INSERT INTO aftercast.object (place, asset_id, node_id, epoch, state, size_bytes) \
             SELECT '{endpoint} s3://fleet-own-keys/pre/{name}', 'former', node_id, 1, '{state}', 7 \
             FROM aftercast.node WHERE name = 'a'"
        ));
        fs::write(a.root().join(name), padded(name, 0)).unwrap();
    }
    until_keys(&server, "fleet-own-keys", &["x.mp4", "y.mp4"]);
    until("both are noted", || (rows("x.mp4") == "proven" && rows("y.mp4") == "proven").then_some(()));
    // The same unit on another node, where it has another id: what stands there is adopted.
    let of_unit = ["room1.m3u8", "room1000000000.ts", "room1000000001.ts"];
    unit(a, "room1", 2, "#EXT-X-ENDLIST\n");
    until("it is noted", || of_unit.iter().all(|name| rows(name) == "proven").then_some(()));
    unit(b, "room1", 2, "#EXT-X-ENDLIST\n");
    let keys = until("it is delivered", || {
        let queue = b.run(&["--json", "queue", "list", "--all"]).expect_code(0).json_lines();
        let objects = queue.first()?["delivery"]["state"]["objects"].as_array()?.clone();
        Some(objects.iter().map(|object| object["key"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>())
    });
    assert_eq!(keys, of_unit.map(|name| format!("pre/{name}")).into());
    // A key that turned out to be taken is given back.
    postgres.sql("DELETE FROM aftercast.object WHERE place LIKE '%/pre/y.mp4'");
    fs::copy(made("mp4", 3), b.root().join("y.mp4")).unwrap();
    let key = until("it is delivered under another key", || {
        let queue = b.run(&["--json", "queue", "list", "--all"]).expect_code(0).json_lines();
        let of_y = queue.iter().find(|row| row["delivery"]["asset"]["streamId"] == "y")?;
        Some(of_y["delivery"]["state"]["objects"][0]["key"].as_str()?.to_owned())
    });
    assert_ne!(key, "pre/y.mp4");
    assert_eq!(rows("y.mp4"), "", "nothing of it stays");
    daemons.into_iter().for_each(Daemon::stop);
}

#[test]
fn a_bucket_that_is_also_a_target_is_no_archive_for_whoever_has_the_target() {
    let (postgres, server) = (Postgres::start(), s3());
    let target = server.bucket("batch-target");
    let elsewhere = TargetOptions { url: "s3://batch-target/new".to_owned(), ..target.clone() };
    let (house, stranger) = (node(&postgres, "house", &target), node(&postgres, "stranger", &elsewhere));
    put(&target, "pre/room.flv", fs::read(made("flv", 2)).unwrap());
    for url in ["s3://batch-target/pre", "s3://batch-target"] {
        let refused = house.run(&["batch", "start", "--root", url]).expect_code(3);
        assert!(refused.err.contains("overlaps with the target `cloud`"), "{}", refused.err);
        assert!(refused.err.contains("Nothing was read or changed"), "{}", refused.err);
    }
    // Who does not know the target can start it; a worker that knows it does nothing of it.
    stranger.run(&["batch", "start", "--root", "s3://batch-target/pre"]).expect_code(0);
    let worker = house.run(&["work", "--stop-when-empty"]);
    assert!(worker.err.contains("overlaps with the target `cloud`"), "{}", worker.err);
    until_keys(&server, "batch-target", &["room.flv"]);
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.work WHERE kind <> 'list' OR state = 'done'"), "0");
}
