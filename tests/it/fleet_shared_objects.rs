//! Objects that more than one node has: none of them deletes what another one needs, and rows of keys do not stay for ever.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aftercast::fleet::{ProvenKey, WorkResult};
use aftercast::runtime::Runtime;
use serde_json::Value;

use super::fleet::{status, until_connected, until_told};
use super::fleet_objects::{node, until_keys};
use super::fleet_work::{Node, done, new_work};
use super::roots::moved;
use crate::support::daemon::{Daemon, until};
use crate::support::postgres::Postgres;
use crate::support::recordings::padded;
use crate::support::stores::s3;
use crate::support::{Sandbox, archive};

/// What a node has itself; the database is not needed for that.
fn own(at: &Sandbox) -> Vec<Value> {
    at.run(&["--json", "vod", "list", "--node", "this"]).expect_code(0).json_lines()
}

fn id_of(at: &Sandbox) -> String {
    own(at)[0]["vodId"].as_str().unwrap().to_owned()
}

#[track_caller]
fn until_delivered(postgres: &Postgres, at: &Sandbox) {
    until("it is delivered", || {
        own(at).first().is_some_and(|vod| !vod["remote"].as_array().unwrap().is_empty()).then_some(())
    });
    until_told(at);
    until("the key is noted", || {
        (postgres.sql("SELECT count(*) FROM aftercast.object WHERE state = 'proven'") == "1").then_some(())
    });
}

#[test]
fn an_object_that_two_nodes_have_stays_until_the_second_of_them_deletes_its_vod() {
    let mut postgres = Postgres::start();
    let server = s3();
    let target = server.bucket("fleet-shared-objects");
    let nodes = ["a", "b"].map(|name| node(&postgres, name, &target));
    let [a, b] = &nodes;
    let daemons = nodes.each_ref().map(Daemon::start);
    nodes.iter().for_each(until_connected);
    // The same recording, one after the other: one id, one key, one object.
    for node in &nodes {
        fs::write(node.root().join("x.mp4"), padded("same", 0)).unwrap();
        until_delivered(&postgres, node);
    }
    let id = id_of(a);
    assert_eq!(id, id_of(b));
    until_keys(&server, "fleet-shared-objects", &["x.mp4"]);
    let rows = "SELECT n.name FROM aftercast.object JOIN aftercast.node n USING (node_id) \
                UNION ALL SELECT 'also ' || n.name FROM aftercast.object_also JOIN aftercast.node n USING (node_id)";
    assert_eq!(postgres.sql(rows), "b\nalso a");
    // Whether the other one still has it cannot be asked now: nothing is deleted.
    postgres.stop_immediately();
    let refused = a.run(&["vod", "delete", &id, "--yes"]);
    assert!(refused.code() == 5 && refused.err.contains("Nothing was deleted"), "{} {}", refused.code(), refused.err);
    assert_eq!(id_of(a), id);
    for node in &nodes {
        until("it knows that the database is away", || (status(node)["fleet"]["isConnected"] == false).then_some(()));
    }
    postgres.begin();
    nodes.iter().for_each(until_connected);
    nodes.iter().for_each(until_told);
    let deleted = a.run(&["vod", "delete", &id, "--yes"]).expect_code(0);
    assert!(deleted.err.contains(&format!("VoD {id} on the node b also references it")), "{}", deleted.err);
    until_told(a);
    until("the row of the first one is gone", || (postgres.sql(rows) == "b").then_some(()));
    until_keys(&server, "fleet-shared-objects", &["x.mp4"]);
    b.run(&["vod", "verify", &id]).expect_code(0);
    // The last one takes it along.
    b.run(&["vod", "delete", &id, "--yes"]).expect_code(0);
    until_keys(&server, "fleet-shared-objects", &[]);
    until("no row is left", || postgres.sql(rows).is_empty().then_some(()));
    daemons.into_iter().for_each(Daemon::stop);
}

#[test]
fn of_one_key_that_two_recordings_got_without_the_database_both_nodes_are_known() {
    let postgres = Postgres::start();
    let nodes = ["a", "b"].map(|name| Node::start(&postgres, name));
    let place = "https://s3.example s3://bucket/x.mp4";
    for (node, number) in nodes.iter().zip(1..) {
        let vod = archive::vod(Path::new("/recordings"), number, 1, None).unwrap();
        node.work().enqueue(&[new_work(&vod.vod_id)]).unwrap();
        let proven = ProvenKey { place: place.into(), asset_id: vod.vod_id.clone(), size_bytes: 7, checksum: None };
        assert!(node.work().finish(&node.claim_one(), &WorkResult { vod: Some((vod, 1)), ..done() }).unwrap());
        // The second one is told that another asset has the key.
        assert_eq!(node.fleet.note_proven(&[proven]).unwrap(), number - 1);
    }
    let holders = |node: &Node| {
        let holders = node.fleet.object_holders(&[place.into(), "elsewhere".into()]).unwrap();
        holders.into_iter().map(|holder| holder.node).collect::<Vec<_>>()
    };
    assert_eq!(nodes.each_ref().map(holders), [["b"], ["a"]]);
    // What nobody lists any more is no obstacle.
    postgres.sql("DELETE FROM aftercast.vod USING aftercast.node n WHERE vod.node_id = n.node_id AND n.name = 'b'");
    assert_eq!(holders(&nodes[0]), Vec::<String>::new());
}

#[test]
fn a_name_that_comes_again_does_not_hide_that_a_node_has_the_object() {
    let postgres = Postgres::start();
    let nodes @ [a, b] = &["a", "b"].map(|name| Node::start(&postgres, name));
    let runtime = Runtime::start().unwrap();
    let vod = archive::vod(Path::new("/recordings"), 1, 1, None).unwrap();
    for node in nodes {
        node.catalog.merge_rebuilt(std::slice::from_ref(&vod)).unwrap();
    }
    until("both list it", || (postgres.sql("SELECT count(*) FROM aftercast.vod") == "2").then_some(()));
    let place = "https://s3.example s3://bucket/x.mp4".to_owned();
    let (wanted, places) = ([(place.clone(), 7)], [place.clone()]);
    let proven = ProvenKey { place, asset_id: vod.vod_id.clone(), size_bytes: 7, checksum: None };
    assert_eq!(b.fleet.note_proven(std::slice::from_ref(&proven)).unwrap(), 0);
    // Another recording of the node would get the same key, and the store says that it is taken.
    assert!(runtime.block_on(b.fleet.take_keys(&wanted, "another")).unwrap());
    runtime.block_on(b.fleet.release_keys(&places, "another")).unwrap();
    // The other node adopts what is there.
    assert!(runtime.block_on(a.fleet.take_keys(&wanted, &vod.vod_id)).unwrap());
    let holders = |node: &Node| {
        let holders = node.fleet.object_holders(&places).unwrap();
        holders.into_iter().map(|holder| holder.node).collect::<Vec<_>>()
    };
    assert_eq!(holders(b), ["a"], "it may be about to adopt it");
    assert_eq!(a.fleet.note_proven(&[proven]).unwrap(), 0);
    assert_eq!([holders(a), holders(b)], [["b"], ["a"]]);
}

#[test]
fn an_object_that_is_about_to_be_deleted_is_taken_by_no_other_node() {
    let postgres = Postgres::start();
    let nodes @ [a, b] = &["a", "b"].map(|name| Node::start(&postgres, name));
    let runtime = Runtime::start().unwrap();
    let vod = archive::vod(Path::new("/recordings"), 1, 1, None).unwrap();
    for node in nodes {
        node.catalog.merge_rebuilt(std::slice::from_ref(&vod)).unwrap();
    }
    until("both list it", || (postgres.sql("SELECT count(*) FROM aftercast.vod") == "2").then_some(()));
    let place = "https://s3.example s3://bucket/x.mp4".to_owned();
    let object = [(place.clone(), vod.vod_id.clone())];
    let wanted = [(place.clone(), 7)];
    let proven = ProvenKey { place: place.clone(), asset_id: vod.vod_id.clone(), size_bytes: 7, checksum: None };
    let takes = |node: &Node| runtime.block_on(node.fleet.take_keys(&wanted, &vod.vod_id)).unwrap();
    let holder = |node: &Node| {
        let holders = node.fleet.begin_removal(&object).unwrap();
        holders.into_iter().map(|holder| holder.node).collect::<BTreeSet<_>>()
    };
    let nobody = BTreeSet::new();
    assert_eq!(a.fleet.note_proven(std::slice::from_ref(&proven)).unwrap(), 0);
    assert_eq!(holder(a), nobody);
    // It is there still, and would be adopted.
    assert!(!takes(b));
    assert_eq!(b.fleet.object_holders(std::slice::from_ref(&place)).unwrap(), [], "nobody has it any more");
    // What was proven before, and is told only now, is told to be another's.
    assert_eq!(b.fleet.note_proven(std::slice::from_ref(&proven)).unwrap(), 1);
    // Nor does what the node itself tells late undo it.
    assert_eq!(a.fleet.note_proven(std::slice::from_ref(&proven)).unwrap(), 1);
    assert!(!takes(a) && !takes(b));
    // It could not be deleted: it is the node's again, and others may have it, too.
    a.fleet.take_removal_back(std::slice::from_ref(&place)).unwrap();
    let known = a.fleet.object_holders(std::slice::from_ref(&place)).unwrap();
    assert_eq!(known.iter().map(|holder| holder.node.as_str()).collect::<Vec<_>>(), ["b"], "who told it late");
    assert!(takes(b));
    assert_eq!(b.fleet.note_proven(std::slice::from_ref(&proven)).unwrap(), 0);
    // Both delete it, before the database knows of either: the second one takes it along, whichever that is.
    assert_eq!(holder(a), BTreeSet::from(["b".to_owned()]));
    assert_eq!(holder(b), nobody);
    assert!(!takes(a));
    b.fleet.end_removal(std::slice::from_ref(&place)).unwrap();
    assert_eq!(postgres.sql("SELECT count(*) FROM aftercast.object"), "0");
    assert!(takes(a), "its key is free");
    assert_eq!(a.fleet.note_proven(&[proven]).unwrap(), 0);
    // The same the other way around: who has the row of the key does not matter.
    assert!(takes(b));
    assert_eq!(holder(b), BTreeSet::from(["a".to_owned()]));
    assert_eq!(holder(a), nobody);
    a.catalog.delete_vod(&vod.vod_id, 1).unwrap();
    until("its key goes with the VoD", || (postgres.sql("SELECT count(*) FROM aftercast.object") == "0").then_some(()));
}

#[test]
fn what_a_node_was_about_to_delete_when_it_died_is_its_own_again_and_a_command_alone_deletes_it() {
    let postgres = Postgres::start();
    let server = s3();
    let target = server.bucket("fleet-marked-objects");
    let node = node(&postgres, "a", &target);
    let daemon = Daemon::start(&node);
    fs::write(node.root().join("x.mp4"), padded("x", 0)).unwrap();
    until_delivered(&postgres, &node);
    let id = id_of(&node);
    daemon.stop();
    postgres.sql("UPDATE aftercast.object SET asset_id = 'deleting.' || asset_id, state = 'claimed'");
    postgres.sql(
        "INSERT INTO aftercast.object_also (place, node_id, asset_id) \
         SELECT 'elsewhere', node_id, 'deleting.' || vod_id FROM aftercast.vod",
    );
    let daemon = Daemon::start(&node);
    until_connected(&node);
    let assets = "SELECT asset_id FROM aftercast.object UNION ALL SELECT asset_id FROM aftercast.object_also";
    assert_eq!(postgres.sql(assets), format!("{id}\n{id}"));
    daemon.stop();
    node.run(&["vod", "delete", &id, "--yes"]).expect_code(0);
    until_keys(&server, "fleet-marked-objects", &[]);
    let daemon = Daemon::start(&node);
    until("no row is left", || postgres.sql(assets).is_empty().then_some(()));
    daemon.stop();
}

#[test]
fn what_was_adopted_with_a_disk_is_deleted_with_its_objects() {
    let postgres = Postgres::start();
    let server = s3();
    let target = server.bucket("fleet-adopted-objects");
    let old = node(&postgres, "old", &target);
    let daemon = Daemon::start(&old);
    fs::write(old.root().join("x.mp4"), padded("x", 0)).unwrap();
    until_delivered(&postgres, &old);
    let id = id_of(&old);
    daemon.stop();
    let disk = moved(&old.root());
    let new = node(&postgres, "new", &target);
    fs::remove_dir_all(new.root()).unwrap();
    fs::rename(disk.path(), new.root()).unwrap();
    let daemon = Daemon::start(&new);
    until_connected(&new);
    new.run(&["adopt", new.root().to_str().unwrap(), "--yes"]).expect_code(0);
    let owner = "SELECT n.name FROM aftercast.object JOIN aftercast.node n USING (node_id)";
    until("the key is the new node's", || (postgres.sql(owner) == "new").then_some(()));
    until_delivered(&postgres, &new);
    assert_eq!(id_of(&new), id);
    new.run(&["vod", "delete", &id, "--yes"]).expect_code(0);
    until_keys(&server, "fleet-adopted-objects", &[]);
    until("its key is free", || postgres.sql(owner).is_empty().then_some(()));
    daemon.stop();
}

#[test]
fn rows_of_keys_are_removed_when_they_are_of_no_use_any_more() {
    let postgres = Postgres::start();
    let server = s3();
    let target = server.bucket("fleet-spent-keys");
    let node = node(&postgres, "a", &target);
    Daemon::start(&node).stop();
    postgres.sql(
        "INSERT INTO aftercast.node (node_id, name, epoch, instance, host, version, stopped_at) \
         VALUES (gen_random_uuid(), 'gone', 1, '', '', '', now())",
    );
    let put = |place: &str, asset: &str, node: &str, state: &str, days: u32| {
        postgres.sql(&format!(
            "INSERT INTO aftercast.object (place, asset_id, node_id, epoch, state, claimed_at) \
             SELECT '{place}', '{asset}', node_id, 1, '{state}', now() - interval '{days} days' FROM aftercast.node WHERE name = '{node}'"
        ));
    };
    put("old unit", "unit-1", "gone", "proven", 2);
    put("old unit of its own", "unit-2", "a", "proven", 2);
    put("new unit", "unit-3", "a", "proven", 0);
    put("vod", "united", "a", "proven", 2);
    put("taken by one that is away", "x", "gone", "claimed", 2);
    put("taken", "y", "a", "claimed", 2);
    let daemon = Daemon::start(&node);
    let rows = "SELECT string_agg(place, ', ' ORDER BY place) FROM aftercast.object";
    until("the others are gone", || (postgres.sql(rows) == "new unit, taken, vod").then_some(()));
    daemon.stop();
}
