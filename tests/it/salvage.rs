//! A crashed MP4 plays again: with what an earlier recording of its stream taught, and not without.

use std::fs;

use crate::support::House;
use crate::support::recordings::{decode_errors, made, packets, without_moov};

/// Digests of the packets of one kind, in order; the times are compared apart.
fn payloads(lines: &[String], kind: &str) -> Vec<String> {
    let of_kind = lines.iter().filter(|line| line.contains(kind));
    of_kind.map(|line| line.rsplit(['|', ',', ' ']).next().unwrap().to_owned()).collect()
}

#[test]
fn a_crashed_recording_is_salvaged_with_what_its_stream_taught_before() {
    let house = House::new();
    let sound = house.put(&made("mp4", 2), "before/monday.mp4");
    house.run(&["process", sound.to_str().unwrap(), "--stream", "room1"]).expect_code(0);

    let whole = made("mp4", 4);
    let crashed = house.put(&without_moov(&whole), "after/tuesday.mp4.tmp");
    let before = fs::read(&crashed).unwrap();
    house.run(&["recover", crashed.to_str().unwrap(), "--stream", "room1"]).expect_code(0);

    let vods = house.vods();
    let vod = vods.iter().find(|vod| vod["salvaged"] == true).unwrap_or_else(|| panic!("{vods:?}"));
    assert_eq!(vod["outcome"], "salvaged", "{vod}");
    let path = house.root().join("after/tuesday.mp4");
    assert_eq!(decode_errors(&path), "");
    let (truth, got) = (packets(&whole), packets(&path));
    for kind in ["video", "audio"] {
        assert!(payloads(&truth, kind).len() > 10);
        assert_eq!(payloads(&got, kind), payloads(&truth, kind), "{kind}");
    }
    assert_eq!(fs::read(&crashed).unwrap(), before, "the original stays as it was");
}

#[test]
fn without_parameters_it_stays_and_says_what_would_finish_it() {
    let house = House::new();
    let crashed = house.put(&without_moov(&made("mp4", 4)), "alone/tuesday.mp4.tmp");
    let run = house.run(&["--json", "recover", crashed.to_str().unwrap()]).expect_code(4);
    assert!(run.out.contains("needs_parameters"), "{}", run.out);
    assert!(house.vods().is_empty() && crashed.exists());

    let output = house.path().join("out.mp4");
    let good = made("mp4", 2);
    let named = ["--reference", good.to_str().unwrap(), "--output", output.to_str().unwrap()];
    house.run(&[&["recover", crashed.to_str().unwrap()], &named[..]].concat()).expect_code(0);
    assert_eq!(decode_errors(&output), "");
    assert_eq!(packets(&output).len(), packets(&made("mp4", 4)).len());
    house.run(&[&["recover", crashed.to_str().unwrap()], &named[..]].concat()).expect_code(2);
}
