//! The queue of deliveries as the program works it off: who sends, when, and what of it may free a file.

use aftercast::deliver::TargetOptions;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::stores::{free_port, s3};
use crate::support::tap::Tap;
use crate::support::{House, config_with_targets, tree};

#[test]
fn commands_that_only_look_send_nothing_although_deliveries_are_due() {
    let server = s3();
    let port = free_port();
    let mut target = server.bucket("looking");
    target.endpoint = Some(format!("http://127.0.0.1:{port}"));
    let house = House::with_config(|dir| config_with_targets(dir, &[&target], ""));
    house.put(&made("mp4-faststart", 2), "room1.mp4");
    house.process().expect_code(5);

    let tap = Tap::at(port, server.address());
    let root = house.root();
    let root = root.to_str().unwrap();
    house.run(&["queue", "retry"]).expect_code(0);
    for looks in [
        &["queue", "list"] as &[&str],
        &["vod", "list"],
        &["vod", "export"],
        &["retain", "--dry-run"],
        &["process", "--dry-run", root],
        &["watch", "--dry-run"],
        &["catalog", "check"],
    ] {
        house.run(looks).expect_code(0);
        assert_eq!(tap.take(), Vec::<String>::new(), "{looks:?}");
    }
    let queue = house.run(&["queue", "list"]).expect_code(0).out;
    assert!(queue.contains("waits") && queue.contains("now"), "{queue}");
    house.process().expect_code(0);
    assert!(tap.take().iter().any(|line| line.starts_with("PUT ")));
}

#[test]
fn a_target_that_does_not_answer_waits_as_a_whole_and_the_other_has_everything() {
    const RECORDINGS: usize = 12;
    let server = s3();
    let port = free_port();
    let mut cloud = server.bucket("silent");
    cloud.endpoint = Some(format!("http://127.0.0.1:{port}"));
    let house = House::with_config(|dir| {
        let disk = TargetOptions::new("disk", &format!("file://{}/store", dir.display()));
        config_with_targets(dir, &[&cloud, &disk], "")
    });
    for n in 0..RECORDINGS {
        house.put(&made("mp4-faststart", 2), &format!("room{n}.mp4"));
    }
    let daemon = Daemon::start(&house);
    until("the other target has all", || (tree(&house.store()).len() == RECORDINGS).then_some(()));
    daemon.until_said("The target does not answer");
    let said_of_single_ones = daemon.log().matches("Not delivered").count();
    assert!(said_of_single_ones < RECORDINGS, "{}", daemon.log());
    assert_eq!(daemon.log().matches("The target does not answer").count(), 1, "{}", daemon.log());

    let _now_it_is_there = Tap::at(port, server.address());
    daemon.signal("HUP");
    until("all is delivered", || (server.listing("silent").len() == RECORDINGS).then_some(()));
    daemon.stop();
}
