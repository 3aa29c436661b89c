//! HLS units through the real program: what a playlist names is delivered, a crashed one is ended, a room is never taken for
//! another whose name begins alike.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::recordings::{ffmpeg, made};
use crate::support::{Sandbox, config_with_targets, standard_config, tree};

/// A playlist with its segments, last written a minute ago.
pub(super) fn unit(sandbox: &Sandbox, room: &str, segments: usize, end: &str) {
    unit_in(&sandbox.root(), room, segments, end);
}

/// The same in any directory; every file in it was last written then.
pub(super) fn unit_in(directory: &Path, room: &str, segments: usize, end: &str) {
    let mut playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n".to_owned();
    let segment = fs::read(made("ts", 2)).unwrap();
    for n in 0..segments {
        let name = format!("{room}{n:09}.ts");
        fs::write(directory.join(&name), [segment.as_slice(), name.as_bytes()].concat()).unwrap();
        let _ = write!(playlist, "#EXTINF:2.0,\n{name}\n");
    }
    fs::write(directory.join(format!("{room}.m3u8")), playlist.clone() + end).unwrap();
    let a_minute_ago = SystemTime::now() - Duration::from_secs(60);
    for entry in fs::read_dir(directory).unwrap() {
        File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(a_minute_ago).unwrap();
    }
}

#[test]
fn a_crashed_playlist_is_ended_in_the_store_and_left_alone_on_the_disk() {
    let sandbox = Sandbox::new();
    // The crash came in the middle of a line.
    unit(&sandbox, "room1", 3, "#EXTINF:2.");
    unit(&sandbox, "room10", 2, "#EXT-X-ENDLIST\n");
    let before = tree(&sandbox.root());
    sandbox.process().expect_code(0);
    assert_eq!(tree(&sandbox.root()), before, "the server's own files stay as they are");
    let (here, there) = (tree(&sandbox.root()), tree(&sandbox.store()));
    assert_eq!(here.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
    for (name, (_, _, _, digest)) in here.iter().filter(|(name, _)| *name != "room1.m3u8") {
        assert_eq!(there[name].3, *digest, "{name}");
    }
    let local = fs::read_to_string(sandbox.root().join("room1.m3u8")).unwrap();
    let delivered = fs::read_to_string(sandbox.store().join("room1.m3u8")).unwrap();
    assert_eq!(delivered, format!("{local}\n#EXT-X-ENDLIST\n"));
    sandbox.process().expect_code(0);
    assert_eq!(tree(&sandbox.store()), there, "once is enough");
}

#[test]
fn every_object_of_a_unit_is_proven_by_its_bytes() {
    let server = crate::support::stores::s3();
    let target = server.bucket("crashed-unit");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    unit(&sandbox, "room1", 2, "");
    sandbox.process().expect_code(0);
    let queue = sandbox.run(&["--json", "queue", "list", "--all"]).expect_code(0).json_lines();
    let objects = queue[0]["delivery"]["state"]["objects"].as_array().expect("it is delivered").clone();
    assert_eq!(objects.len(), 3);
    assert!(objects.iter().all(|o| o["checksumCompared"] == true), "{objects:?}");
    let seen = crate::support::clients::see(&target, "pre/room1.m3u8");
    assert!(String::from_utf8(seen.bytes).unwrap().ends_with("room1000000001.ts\n#EXT-X-ENDLIST\n"));
    assert_eq!(seen.content_type, "application/vnd.apple.mpegurl");
}

/// What a packager leaves when it dies: a manifest that still says `dynamic`, the segments so far, and one half written.
fn crashed_dash(sandbox: &Sandbox) -> String {
    let (source, manifest) = (made("mp4-faststart", 2), sandbox.root().join("room1.mpd"));
    let template = [
        "-init_seg_name",
        "room1-$RepresentationID$-init.m4s",
        "-media_seg_name",
        "room1-$RepresentationID$-$Number$.m4s",
    ];
    let mut args = vec!["-i", source.to_str().unwrap(), "-c", "copy", "-f", "dash", "-seg_duration", "1"];
    args.extend(template);
    args.push(manifest.to_str().unwrap());
    ffmpeg(&args);
    let ended = fs::read_to_string(&manifest).unwrap();
    assert!(ended.contains("type=\"static\""), "{ended}");
    let dynamic = ended.replace("type=\"static\"", "type=\"dynamic\" minimumUpdatePeriod=\"PT1S\"");
    fs::write(&manifest, &dynamic).unwrap();
    fs::write(sandbox.root().join("room1-0-99.m4s.tmp"), "half").unwrap();
    let a_minute_ago = SystemTime::now() - Duration::from_secs(60);
    for entry in fs::read_dir(sandbox.root()).unwrap() {
        File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(a_minute_ago).unwrap();
    }
    dynamic
}

#[test]
fn a_crashed_manifest_is_delivered_as_it_stands_behind_all_that_it_names() {
    let server = crate::support::stores::s3();
    let target = server.bucket("crashed-dash");
    let sandbox = Sandbox::with_config(|dir| {
        config_with_targets(dir, &[&target], "").replace("[watch]", "[deliver]\nupload_extensions = 15\n[watch]")
    });
    let manifest = crashed_dash(&sandbox);
    let before = tree(&sandbox.root());
    sandbox.process().expect_code(0);
    assert_eq!(tree(&sandbox.root()), before, "the server's own files stay as they are");
    assert_eq!(sandbox.vods().len(), 0, "no segment is a recording");
    let queue = sandbox.run(&["--json", "queue", "list", "--all"]).expect_code(0).json_lines();
    let objects = queue[0]["delivery"]["state"]["objects"].as_array().expect("it is delivered").clone();
    let keys: Vec<_> = objects.iter().map(|o| o["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys.last().unwrap(), "pre/room1.mpd");
    let segments: Vec<_> = before
        .keys()
        .filter(|name| name.contains("room1-") && !name.contains(".tmp"))
        .map(|name| format!("pre/{name}"))
        .collect();
    assert!(segments.len() >= 4, "{segments:?}");
    let mut named = keys[..keys.len() - 1].to_vec();
    named.sort();
    assert_eq!(named, segments);
    assert!(objects.iter().all(|o| o["checksumCompared"] == true), "{objects:?}");
    assert_eq!(crate::support::clients::see(&target, "pre/room1.mpd").bytes, manifest.into_bytes());
    let listing = server.listing("crashed-dash");
    sandbox.process().expect_code(0);
    assert_eq!(server.listing("crashed-dash"), listing, "once is enough");
}

/// The store is the directory of the recordings by another path: whatever is found there proves nothing.
#[test]
fn a_target_that_leads_to_the_recordings_themselves_frees_nothing() {
    let sandbox = Sandbox::with_config(|dir| {
        let config = standard_config(dir, "[retain]\ndelete_local = \"delivered\"");
        config.replace("/store\"", "/alias\"")
    });
    std::os::unix::fs::symlink(sandbox.root(), sandbox.path().join("alias")).unwrap();
    let recording = sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let before = tree(&sandbox.root());
    sandbox.process().expect_code(5);
    assert_eq!(tree(&sandbox.root()), before);
    assert!(recording.exists());
    let queue = sandbox.run(&["queue", "list"]).expect_code(0).out;
    assert!(queue.contains("is the recording itself"), "{queue}");
}
