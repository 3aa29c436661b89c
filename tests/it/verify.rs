//! `vod verify` and `vod delete`: what is not as proven any more is said, noted, announced and sent again; and only what
//! was delivered is ever removed.

use std::path::{Path, PathBuf};

use crate::support::recordings::made;
use crate::support::stores::s3;
use crate::support::{Sandbox, config_with_targets, standard_config};

fn flip_a_bit(path: &Path) -> Vec<u8> {
    let good = std::fs::read(path).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(path, &bad).unwrap();
    good
}

fn copy_of(sandbox: &Sandbox) -> PathBuf {
    sandbox.store().join(sandbox.vods()[0]["remote"][0]["key"].as_str().unwrap())
}

#[test]
fn a_copy_that_changed_is_sent_again_beside_it_and_never_proves_anything_again() {
    let protected = "[retain]\ndelete_local = \"delivered\"\nprotect = [\"*\"]";
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, protected));
    let recording = sandbox.put(&made("mp4-faststart", 2), "room1/take.mp4");
    sandbox.process().expect_code(0);
    assert!(recording.exists(), "its stream is protected");
    let copy = copy_of(&sandbox);
    sandbox.run(&["vod", "verify", "--download"]).expect_code(0);

    let good = flip_a_bit(&copy);
    sandbox.run(&["vod", "verify"]).expect_code(0);
    let said = sandbox.run(&["vod", "verify", "--download"]).expect_code(4);
    assert!(
        said.out.contains("the checksum of its content is") && said.out.contains("it is uploaded again"),
        "{}",
        said.out
    );
    sandbox.process().expect_code(0);
    let again = copy_of(&sandbox);
    assert_eq!(again, copy.with_file_name("take_1.mp4"), "what stands there is not overwritten");
    assert_eq!(std::fs::read(&again).unwrap(), good);
    sandbox.run(&["vod", "verify", "--download"]).expect_code(0);

    std::fs::remove_file(&again).unwrap();
    let missing = sandbox.run(&["vod", "verify"]).expect_code(4);
    assert!(missing.out.contains("it is missing; it is uploaded again"), "{}", missing.out);
    sandbox.process().expect_code(0);
    assert_eq!(copy_of(&sandbox), again, "its key is free again");
    assert_eq!(std::fs::read(&again).unwrap(), good);

    let config = std::fs::read_to_string(sandbox.path().join("config.toml")).unwrap();
    std::fs::write(sandbox.path().join("config.toml"), config.replace("protect = [\"*\"]", "")).unwrap();
    sandbox.run(&["retain"]).expect_code(0);
    assert!(!recording.exists());
}

#[test]
fn what_reading_found_is_not_taken_back_by_what_the_store_says() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[retain]\ndelete_local = \"delivered\""));
    let recording = sandbox.put(&made("mp4-faststart", 2), "take.mp4");
    sandbox.process().expect_code(0);
    assert!(!recording.exists());
    let copy = copy_of(&sandbox);
    let good = flip_a_bit(&copy);
    for more in [&["--download"][..], &[], &["--download"]] {
        let said = sandbox.run(&[&["vod", "verify"], more].concat()).expect_code(4);
        assert!(said.out.contains("no local file is left to upload"), "{}", said.out);
        assert!(sandbox.vods()[0]["remote"][0]["differs"].is_string());
    }
    std::fs::write(&copy, &good).unwrap();
    sandbox.run(&["vod", "verify"]).expect_code(4);
    sandbox.run(&["vod", "verify", "--download", "--sample", "100%"]).expect_code(0);
    sandbox.run(&["vod", "verify"]).expect_code(0);
    assert!(sandbox.vods()[0]["remote"][0]["differs"].is_null());
}

#[test]
fn deleting_a_vod_removes_what_was_delivered_for_it_in_every_target_and_nothing_else() {
    let server = s3();
    let mut cloud = server.bucket("deleting");
    let sandbox = Sandbox::with_config(|dir| {
        let disk = aftercast::deliver::TargetOptions::new("disk", &format!("file://{}/store", dir.display()));
        config_with_targets(dir, &[&cloud, &disk], "[deliver]\nupload_extensions = 31")
    });
    let made = made("mp4-faststart", 2);
    for name in ["room1.mp4", "room10.mp4", "room1_x.mp4"] {
        sandbox.put(&made, name);
    }
    std::fs::write(sandbox.root().join("room1.png"), "poster").unwrap();
    sandbox.process().expect_code(0);
    let in_cloud = || server.listing("deleting").into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let on_disk = || crate::support::tree(&sandbox.store()).into_keys().collect::<Vec<_>>();
    let all = ["room1.mp4", "room1.png", "room10.mp4", "room1_x.mp4"];
    assert_eq!(on_disk(), all);
    let vods = sandbox.vods();
    let id = |name: &str| vods.iter().find(|v| v["vodName"] == name).unwrap()["vodId"].as_str().unwrap().to_owned();
    let room1 = id("room1.mp4");

    let plan = sandbox.run(&["vod", "delete", &room1]).expect_code(0);
    assert_eq!(plan.err.matches("Would delete").count(), 5, "{}", plan.err);
    assert_eq!((in_cloud().len(), on_disk().len()), (4, 4));
    sandbox.run(&["vod", "delete", &room1, "--yes"]).expect_code(0);
    assert_eq!(on_disk(), ["room10.mp4", "room1_x.mp4"]);
    assert_eq!(in_cloud(), ["pre/room10.mp4", "pre/room1_x.mp4"]);

    // Somebody else's object has taken the place of ours.
    let room10 = id("room10.mp4");
    std::fs::write(sandbox.store().join("room10.mp4"), "another's").unwrap();
    cloud.name = "cloud".into();
    let targets = crate::support::assets::targets(cloud);
    targets.delete("cloud", "pre/room10.mp4").unwrap();
    crate::support::assets::write_noise(sandbox.path(), "other/room10.mp4", 9, 1);
    let other = crate::support::assets::asset(&sandbox.path().join("other"), "other", &["room10.mp4"]);
    crate::support::assets::upload(&targets, &other).unwrap();
    let said = sandbox.run(&["vod", "delete", &room10, "--yes"]).expect_code(4);
    assert_eq!(said.err.matches("it differs from the delivered object").count(), 2, "{}", said.err);
    assert_eq!(std::fs::read(sandbox.store().join("room10.mp4")).unwrap(), b"another's");
    assert_eq!(in_cloud(), ["pre/room10.mp4", "pre/room1_x.mp4"]);
    assert_eq!(sandbox.vods().len(), 1);
}
