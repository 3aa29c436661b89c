//! The queue of deliveries as the program works it off: who sends, when, and what of it may free a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use aftercast::deliver::{NullLedger, TargetOptions};
use serde_json::{Value, json};

use super::recording_switch::ask;
use crate::support::assets::targets;
use crate::support::clients::begin_upload;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{made, padded};
use crate::support::stores::{free_port, s3};
use crate::support::tap::Tap;
use crate::support::{Sandbox, config_with_targets, tree};

#[test]
fn commands_that_only_look_send_nothing_although_deliveries_are_due() {
    let server = s3();
    let port = free_port();
    let mut target = server.bucket("looking");
    target.endpoint = Some(format!("http://127.0.0.1:{port}"));
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    sandbox.process().expect_code(5);

    let tap = Tap::at(port, server.address());
    let root = sandbox.root();
    let root = root.to_str().unwrap();
    sandbox.run(&["queue", "retry"]).expect_code(0);
    for looks in [
        &["queue", "list"] as &[&str],
        &["vod", "list"],
        &["vod", "export"],
        &["retain", "--dry-run"],
        &["process", "--dry-run", root],
        &["watch", "--dry-run"],
        &["catalog", "check"],
    ] {
        sandbox.run(looks).expect_code(0);
        assert_eq!(tap.take(), Vec::<String>::new(), "{looks:?}");
    }
    let queue = sandbox.run(&["queue", "list"]).expect_code(0).out;
    assert!(queue.contains("pending") && queue.contains("now"), "{queue}");
    sandbox.process().expect_code(0);
    assert!(tap.take().iter().any(|line| line.starts_with("PUT ")));
}

#[test]
fn a_delivery_is_tried_again_by_its_id_or_by_the_path_of_its_file() {
    let server = s3();
    let mut target = server.bucket("by-path");
    target.endpoint = Some(format!("http://127.0.0.1:{}", free_port()));
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    for name in ["room1.mp4", "room2.mp4"] {
        sandbox.put(&made("mp4-faststart", 2), name);
    }
    sandbox.process().expect_code(5);
    let retried = |named: &str| {
        let run = sandbox.run(&["--json", "queue", "retry", named]).expect_code(0);
        run.json_lines()[0]["retried"].as_u64().unwrap()
    };
    let queue = sandbox.run(&["--json", "queue", "list"]).expect_code(0).json_lines();
    let id = queue[0]["delivery"]["id"].as_str().unwrap();
    assert_eq!(retried(id), 1);
    assert_eq!(retried("root/room1.mp4"), 1, "from where it is typed");
    assert_eq!(retried(sandbox.root().join("room2.mp4").to_str().unwrap()), 1);
    let unknown = sandbox.run(&["queue", "retry", "root/room3.mp4"]).expect_code(2).err;
    assert!(unknown.contains("room3.mp4") && unknown.contains("queue list"), "{unknown}");
}

/// One list of the queue, in pages of one entry.
fn whole_queue(sandbox: &Sandbox, list: &str) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let (status, page) = ask(sandbox, "GET", &format!("/api/v1/queue?limit=1{after}"), "");
        assert_eq!(status, 200, "{page}");
        let [deliveries, recordings] = ["deliveries", "recordings"].map(|list| page[list].as_array().unwrap().len());
        assert!(deliveries + recordings <= 1, "{page}");
        found.extend(page[list].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { return found };
        after = format!("&after={next}");
    }
}

/// Id, reason and class of a delivery that failed.
fn reason_of(queued: &Value) -> (String, (Value, Value)) {
    (queued["delivery"]["id"].to_string(), (queued["reason"].clone(), queued["class"].clone()))
}

#[test]
fn the_queue_is_read_in_pages_deliveries_then_recordings() {
    let server = s3();
    let mut target = server.bucket("in-pages");
    target.endpoint = Some(format!("http://127.0.0.1:{}", free_port()));
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    for name in ["room1.mp4", "room2.mp4"] {
        sandbox.put(&made("mp4-faststart", 2), name);
    }
    for name in ["room3.mp4", "room4.mp4"] {
        fs::write(sandbox.root().join(name), b"\0\0\0\x10ftypisom\0\0\0\0 no media follows").unwrap();
    }
    sandbox.process();
    let daemon = Daemon::start(&sandbox);
    let names = |list: &str, at: &str| -> BTreeSet<String> {
        whole_queue(&sandbox, list).iter().map(|entry| entry.pointer(at).unwrap().to_string()).collect()
    };
    assert_eq!(names("deliveries", "/delivery/id").len(), 2);
    let stopped = names("recordings", "/path");
    assert!(stopped.len() == 2 && stopped.iter().all(|path| path.contains("/root/room")), "{stopped:?}");
    let printed = sandbox.run(&["--json", "queue", "list"]).expect_code(0).json_lines();
    assert_eq!(printed.len(), 4, "{printed:?}");
    daemon.stop();
}

#[test]
fn deliveries_that_failed_alike_have_one_reason_and_are_tried_again_by_it() {
    let server = s3();
    let mut target = server.bucket("by-reason");
    target.endpoint = Some(format!("http://127.0.0.1:{}", free_port()));
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    for name in ["room1.mp4", "room2.mp4", "room3.mp4"] {
        sandbox.put(&made("mp4-faststart", 2), name);
    }
    sandbox.process().expect_code(5);
    let daemon = Daemon::start(&sandbox);
    let failed: BTreeMap<_, _> = whole_queue(&sandbox, "deliveries").iter().map(reason_of).collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    let (reason, class) = failed.values().next().unwrap().clone();
    assert_eq!(reason, "connection refused");
    assert!(failed.values().all(|told| *told == (reason.clone(), class.clone())), "{failed:?}");
    let retried = |body: Value| ask(&sandbox, "POST", "/api/v1/queue/retry", &body.to_string());
    assert_eq!(retried(json!({ "reason": "the store is full" })), (200, json!({ "retried": 0 })));
    assert_eq!(retried(json!({ "reason": reason, "class": "cancelled" })), (200, json!({ "retried": 0 })));
    // One that is under way stays as it is.
    until("all are tried again", || {
        let again = retried(json!({ "reason": reason, "class": class, "target": target.name }));
        (again == (200, json!({ "retried": 3 }))).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_target_that_does_not_answer_waits_as_a_whole_and_the_other_has_everything() {
    const RECORDINGS: usize = 12;
    let server = s3();
    let port = free_port();
    let mut cloud = server.bucket("silent");
    cloud.endpoint = Some(format!("http://127.0.0.1:{port}"));
    let sandbox = Sandbox::with_config(|dir| {
        let disk = TargetOptions::new("disk", &format!("file://{}/store", dir.display()));
        config_with_targets(dir, &[&cloud, &disk], "")
    });
    for n in 0..RECORDINGS {
        sandbox.put(&made("mp4-faststart", 2), &format!("room{n}.mp4"));
    }
    let daemon = Daemon::start(&sandbox);
    until("the other target has all", || (tree(&sandbox.store()).len() == RECORDINGS).then_some(()));
    daemon.until_said("target does not answer");
    let said_of_single_ones = daemon.log().matches("not delivered").count();
    assert!(said_of_single_ones < RECORDINGS, "{}", daemon.log());
    assert_eq!(daemon.log().matches("target does not answer").count(), 1, "{}", daemon.log());

    let _now_it_is_there = Tap::at(port, server.address());
    daemon.signal("HUP");
    until("all is delivered", || (server.listing("silent").len() == RECORDINGS).then_some(()));
    daemon.until_said("target available again");
    assert_eq!(daemon.log().matches("target available again").count(), 1, "{}", daemon.log());
    daemon.stop();
}

/// Bytes of memory of a process that no file stands behind.
fn own_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn when_nothing_is_left_to_send_the_memory_of_the_uploads_is_given_back() {
    // An upload in parts fills four buffers of 8 MiB.
    const KEPT_AT_MOST: u64 = 16 << 20;
    let server = s3();
    let target = server.bucket("memory-given-back");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    let daemon = Daemon::start(&sandbox);
    let before = own_memory(daemon.id());
    fs::write(sandbox.root().join("room1.mp4"), padded("room1.mp4", 48 << 20)).unwrap();
    daemon.until_said("INFO delivered ");
    until("the memory is given back", || (own_memory(daemon.id()) < before + KEPT_AT_MOST).then_some(()));
    daemon.stop();
}

#[test]
fn gc_lists_the_uploads_of_others_below_our_prefix_and_aborts_them_only_when_told_to() {
    let server = s3();
    let target = server.bucket("uploads-of-others");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    let none = sandbox.run(&["queue", "gc"]).expect_code(0);
    assert!(none.out.contains("No abandoned uploads"), "{}", none.out);
    let (theirs, elsewhere) = (begin_upload(&target, "pre/a b.mp4"), begin_upload(&target, "prefix/other.mp4"));
    let open = || {
        let all = TargetOptions { url: "s3://uploads-of-others".into(), ..target.clone() };
        let open = targets(all).open_uploads("cloud", &NullLedger).unwrap();
        open.into_iter().map(|upload| upload.upload_id).collect::<BTreeSet<_>>()
    };
    let both = open();
    assert_eq!(both, [theirs.clone(), elsewhere.clone()].into());

    let listed = sandbox.run(&["queue", "gc"]).expect_code(0);
    assert!(listed.out.contains("open  cloud  pre/a b.mp4") && !listed.out.contains("other"), "{}", listed.out);
    assert!(listed.err.contains("use --yes to abort"), "{}", listed.err);
    assert_eq!(open(), both, "it was only listed");

    let json = sandbox.run(&["--json", "queue", "gc", "--yes"]).expect_code(0).json_lines();
    assert_eq!((json.len(), &json[0]["uploadId"], &json[0]["aborted"]), (1, &theirs.into(), &true.into()));
    assert_eq!(open(), [elsewhere].into(), "what lies elsewhere is nobody's business here");
}
