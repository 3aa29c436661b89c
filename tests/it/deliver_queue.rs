//! The queue of deliveries as the program works it off: who sends, when, and what of it may free a file.

use crate::support::recordings::made;
use crate::support::stores::{free_port, s3};
use crate::support::tap::Tap;
use crate::support::{House, config_with_targets};

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
