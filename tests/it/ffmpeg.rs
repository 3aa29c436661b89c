//! FFmpeg's libraries: loaded where they are needed, and missed with words.

use std::fs;

use crate::support::recordings::made;
use crate::support::{House, Run, tree};

/// What the loader says it loaded (`LD_DEBUG=files`, ld.so(8)) while a command ran.
fn loading(house: &House, args: &[&str]) -> Run {
    let output = house.command(args).env("LD_DEBUG", "files").output().unwrap();
    Run::from(output)
}

#[test]
fn commands_that_need_no_ffmpeg_load_none() {
    let house = House::new();
    let recording = house.put(&made("mp4", 2), "room1.mp4");
    let recording = recording.to_str().unwrap();
    for args in [&["--version"] as &[&str], &["inspect", recording], &["process", recording], &["vod", "list"]] {
        let run = loading(&house, args).expect_code(0);
        assert!(run.err.contains("libc.so.6"), "the loader speaks: {}", run.err);
        assert!(!run.err.contains("libavcodec.so") && !run.err.contains("libavutil.so"), "{args:?} {}", run.err);
    }
    assert_eq!(house.vods()[0]["outcome"], "spliced");
    let tags = house.put(&made("flv", 2), "room3.flv");
    let run = loading(&house, &["process", tags.to_str().unwrap()]).expect_code(0);
    assert!(!run.err.contains("libavcodec.so"), "{}", run.err);
    assert!(house.vods().iter().all(|vod| vod["outcome"] == "spliced"), "{:?}", house.vods());
    house.put(&made("ts", 2), "room2.ts");
    let run = loading(&house, &["process", house.root().to_str().unwrap()]).expect_code(0);
    assert!(run.err.contains("libavcodec.so"), "{}", run.err);
    assert!(house.vods().iter().any(|vod| vod["outcome"] == "remuxed"));
}

#[test]
fn a_library_that_is_not_there_is_an_error_of_what_needs_it_and_of_nothing_else() {
    let house = House::new();
    let broken = house.path().join("lib");
    fs::create_dir(&broken).unwrap();
    for (major, name) in [57, 58, 59, 60, 61, 62].iter().flat_map(|m| [(m, "avformat"), (m, "avcodec")]) {
        fs::write(broken.join(format!("lib{name}.so.{major}")), "not a library").unwrap();
    }
    let run = |args: &[&str]| Run::from(house.command(args).env("LD_LIBRARY_PATH", &broken).output().unwrap());
    house.put(&made("ts", 2), "room1.ts");
    house.put(&made("mp4-faststart", 2), "room2.mp4");
    let before = tree(&house.root());

    let said = run(&["process", house.root().to_str().unwrap()]).expect_code(5);
    let named = said.out.contains("libavformat.so") || said.out.contains("libavcodec.so");
    assert!(named && said.out.contains("No recording was touched"), "{said:?}");
    assert_eq!(tree(&house.root()), before);
    assert_eq!(house.vods().len(), 1, "the other needs none");
    let said = run(&["doctor"]);
    assert!(said.out.contains("FFmpeg cannot be loaded"), "{said:?}");

    house.process().expect_code(0);
    assert_eq!(house.vods().len(), 2, "nothing was held against it");
}
