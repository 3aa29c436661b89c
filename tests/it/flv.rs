//! FLV through the real program: what is not sound keeps its original, and what is not what its beginning promised finds the
//! container that it fits in.

use std::fs;
use std::path::PathBuf;

use crate::support::House;
use crate::support::recordings::{made, packets};

/// Begin and end of each tag, the length behind it included.
fn tags(flv: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (13, Vec::new());
    while at + 11 < flv.len() {
        let body = usize::from(flv[at + 1]) << 16 | usize::from(flv[at + 2]) << 8 | usize::from(flv[at + 3]);
        found.push((at, at + 15 + body));
        at += 15 + body;
    }
    found
}

fn tag(kind: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
    let (length, time) = (u32::try_from(body.len()).unwrap(), time_ms.to_be_bytes());
    let head = [&[kind][..], &length.to_be_bytes()[1..], &[time[1], time[2], time[3], time[0], 0, 0, 0]].concat();
    [&head, body, &(length + 11).to_be_bytes()[..]].concat()
}

fn put(house: &House, name: &str, bytes: &[u8]) -> PathBuf {
    let path = house.put(&made("flv", 2), name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn an_flv_that_is_damaged_or_holds_other_data_keeps_its_original() {
    let whole = fs::read(made("flv", 2)).unwrap();
    let all = tags(&whole);
    let (_, middle) = all[all.len() / 2];
    let mut length = whole.clone();
    length[middle - 1] ^= 4;
    let mut zeros = whole.clone();
    zeros[middle - 2000..middle + 2000].fill(0);
    let data = [&whole[..middle], &tag(18, 1000, b"\x02\0\x04onFI\x08\0\0\0\0\0\0\x09"), &whole[middle..]].concat();
    for (what, bytes) in [("a length", length), ("zeros", zeros), ("data", data)] {
        let house = House::new();
        let source = put(&house, "room1.flv", &bytes);
        house.process().expect_code(0);
        let vod = house.vods().pop().unwrap();
        assert_eq!(fs::read(&source).unwrap(), bytes, "{what}");
        assert_eq!(vod["originalPath"], source.to_str().unwrap(), "{what}");
        assert!(!vod["defects"].as_array().unwrap().is_empty(), "{what}");
        assert_eq!(vod["outcome"], "remuxed", "{what}");
    }
    let house = House::new();
    let source = put(&house, "room1.flv", &whole);
    house.process().expect_code(0);
    assert!(!source.exists() && house.vods()[0]["outcome"] == "spliced");
}

/// Sound for longer than a beginning is looked at, and then pictures that no MP4 carries.
#[test]
fn a_track_that_turns_up_late_decides_the_container_too() {
    let sound = fs::read(made("flv", 12)).unwrap();
    let sound: Vec<u8> = tags(&sound)
        .into_iter()
        .filter(|(at, _)| sound[*at] == 8)
        .flat_map(|(at, end)| sound[at..end].to_vec())
        .collect();
    let old = fs::read(made("flv-h263", 1)).unwrap();
    let pictures: Vec<u8> = tags(&old)
        .into_iter()
        .filter(|(at, _)| old[*at] == 9)
        .flat_map(|(at, end)| {
            let mut tag = old[at..end].to_vec();
            // Twelve seconds later.
            let time = u32::from_be_bytes([0, tag[4], tag[5], tag[6]]) + 12_000;
            tag[4..7].copy_from_slice(&time.to_be_bytes()[1..]);
            tag
        })
        .collect();
    let house = House::new();
    put(&house, "room1.flv", &[&old[..13], &sound, &pictures].concat());
    house.process().expect_code(0);
    let vod = house.vods().pop().unwrap();
    assert_eq!((vod["container"].as_str(), vod["outcome"].as_str()), (Some("matroska"), Some("remuxed")), "{vod}");
    assert!(packets(&house.root().join("room1.mkv")).iter().any(|packet| packet.contains("video")));
}
