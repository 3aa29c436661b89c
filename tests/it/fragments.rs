//! Fragmented MP4 next to a server that reads its fragments again.

use std::fs;
use std::path::Path;

use crate::support::recordings::{made, packets};
use crate::support::{House, standard_config, tree};

fn house(watch: &str) -> House {
    House::with_config(|dir| standard_config(dir, "").replace("[watch]\n", &format!("[watch]\n{watch}\n")))
}

/// As MediaMTX names its segments.
const SEGMENT: &str = "cam/2026-03-04_14-30-15-000000.mp4";

/// Whether the header that is in front leads to fragments.
fn has_fragments(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    let place = |fourcc: &[u8]| bytes.windows(4).position(|w| w == fourcc).unwrap_or(usize::MAX);
    place(b"mvex") < place(b"mdat")
}

#[test]
fn a_segment_of_mediamtx_stays_as_it_is_and_is_catalogued_and_delivered() {
    for (watch, doctor) in [("server = \"mediamtx\"", "kept"), ("fragmented = \"keep\"", "kept: set by")] {
        let house = house(watch);
        let segment = house.put(&made("mp4-fragmented", 2), SEGMENT);
        let before = tree(&house.root());
        house.process().expect_code(0);
        assert_eq!(tree(&house.root()), before, "{watch}: not a byte, not its time, not its inode");
        let vods = house.vods();
        assert_eq!((vods.len(), &vods[0]["outcome"]), (1, &"kept".into()), "{vods:?}");
        assert_eq!(vods[0]["defects"], serde_json::json!([]));
        assert!((vods[0]["duration"].as_i64().unwrap() - 2000).abs() < 200);
        assert_eq!(fs::read(house.store().join(SEGMENT)).unwrap(), fs::read(&segment).unwrap());
        let again = house.process().expect_code(0);
        assert!(again.out.contains("already finished"), "{}", again.out);
        let said = house.run(&["doctor"]).out;
        let line = said.lines().find(|line| line.contains("fragmented MP4")).unwrap();
        assert!(line.contains(doctor), "{line}");
        let inspected = house.run(&["inspect", segment.to_str().unwrap()]).expect_code(0);
        assert!(inspected.out.contains("keep"), "{}", inspected.out);
    }
}

#[test]
fn fragments_become_progressive_where_that_is_asked_for_or_no_server_reads_them() {
    for watch in ["server = \"mediamtx\"\nfragmented = \"progressive\"", "server = \"srs\""] {
        let house = house(watch);
        let segment = house.put(&made("mp4-fragmented", 2), SEGMENT);
        assert!(has_fragments(&segment));
        house.process().expect_code(0);
        assert_eq!(house.vods()[0]["outcome"], "spliced", "{watch}");
        assert!(!has_fragments(&segment), "{watch}");
        let said = house.run(&["doctor"]).out;
        assert!(said.lines().any(|l| l.contains("fragmented MP4") && l.contains("made progressive")), "{said}");
    }
}

#[test]
fn each_root_has_its_own_setting() {
    let house = House::with_config(|dir| {
        let config = standard_config(dir, "");
        let (kept, made) = (dir.join("root/kept"), dir.join("root/made"));
        let roots = format!(
            "[[watch.root]]\npath = \"{}\"\nfragmented = \"keep\"\n[[watch.root]]\npath = \"{}\"\n",
            kept.display(),
            made.display()
        );
        let roots_line = config.lines().find(|line| line.starts_with("roots")).unwrap().to_owned();
        config
            .replace(&format!("{roots_line}\n"), "")
            .replace("[[deliver.target]]", &format!("{roots}[[deliver.target]]"))
    });
    for root in ["kept", "made"] {
        // Of one name they were one VoD, whose record is that of the last.
        house.put(&made("mp4-fragmented", 2), &format!("{root}/{root}.mp4"));
    }
    house.process().expect_code(0);
    let outcomes: Vec<_> = house.vods().iter().map(|v| (v["filePath"].to_string(), v["outcome"].to_string())).collect();
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    for (path, outcome) in outcomes {
        assert_eq!(outcome, if path.contains("/kept/") { "\"kept\"" } else { "\"spliced\"" }, "{path}");
    }
}

#[test]
fn kept_fragments_are_uploaded_as_progressive_mp4_where_that_is_asked_for() {
    for retain in ["", "[retain]\ndelete_local = \"delivered\"\n"] {
        let house = House::with_config(|dir| {
            let watch = "[watch]\nserver = \"mediamtx\"\nfragmented = \"keep\"\ndeliver_progressive = true\n";
            standard_config(dir, retain).replace("[watch]\n", watch)
        });
        let original = made("mp4-fragmented", 2);
        let segment = house.put(&original, SEGMENT);
        let before = tree(&house.root());
        house.process().expect_code(0);
        let uploaded = house.store().join(SEGMENT);
        assert!(!has_fragments(&uploaded));
        assert_eq!(packets(&uploaded), packets(&original));
        let vods = house.vods();
        assert_eq!((vods.len(), &vods[0]["remote"][0]["isProgressiveCopy"]), (1, &true.into()), "{vods:?}");
        house.run(&["vod", "verify", "--download"]).expect_code(0);
        if retain.is_empty() {
            assert_eq!(tree(&house.root()), before, "the segment is as it was, and no copy of it is left");
            let sent = tree(&house.store());
            house.process().expect_code(0);
            assert_eq!(tree(&house.store()), sent);
        } else {
            assert!(!segment.exists(), "proven, it is freed");
            assert_eq!(tree(&house.root()).len(), 0);
        }
    }
}

#[test]
fn a_segment_without_fragments_is_uploaded_as_it_is() {
    let house = house("server = \"mediamtx\"\ndeliver_progressive = true");
    let original = made("mp4-faststart", 2);
    house.put(&original, SEGMENT);
    house.process().expect_code(0);
    assert_eq!(fs::read(house.store().join(SEGMENT)).unwrap(), fs::read(original).unwrap());
    assert!(house.vods()[0]["remote"][0].get("isProgressiveCopy").is_none());
}
