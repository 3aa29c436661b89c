//! `vod verify`: a difference is said, noted, announced, and keeps the local file.

use crate::support::recordings::made;
use crate::support::{House, standard_config};

#[test]
fn a_copy_that_changed_is_noted_and_blocks_freeing_until_it_is_as_it_was() {
    let house =
        House::with_config(|dir| standard_config(dir, "[retain]\ndelete_local = \"delivered\"\nprotect = [\"*\"]"));
    let recording = house.put(&made("mp4-faststart", 2), "room1/take.mp4");
    house.process().expect_code(0);
    assert!(recording.exists(), "its stream is protected");
    let vod = house.vods().remove(0);
    let copy = house.store().join(vod["remote"][0]["key"].as_str().unwrap());
    house.run(&["vod", "verify", "--download"]).expect_code(0);

    let good = std::fs::read(&copy).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&copy, &bad).unwrap();
    house.run(&["vod", "verify"]).expect_code(0);
    let said = house.run(&["vod", "verify", "--download"]).expect_code(4);
    assert!(said.out.contains("its bytes are"), "{}", said.out);
    assert!(house.vods()[0]["remote"][0]["differs"].is_string());
    let config = std::fs::read_to_string(house.path().join("config.toml")).unwrap();
    std::fs::write(house.path().join("config.toml"), config.replace("protect = [\"*\"]", "")).unwrap();
    let plan = house.run(&["retain", "--dry-run"]).expect_code(0);
    assert!(plan.out.contains("no longer holds what was proven"), "{}", plan.out);
    house.run(&["retain"]).expect_code(0);
    assert!(recording.exists());

    std::fs::write(&copy, &good).unwrap();
    house.run(&["vod", "verify", "--download", "--sample", "100%"]).expect_code(0);
    house.run(&["retain"]).expect_code(0);
    assert!(!recording.exists());

    std::fs::remove_file(&copy).unwrap();
    let missing = house.run(&["vod", "verify"]).expect_code(4);
    assert!(missing.out.contains("it is missing"), "{}", missing.out);
}
