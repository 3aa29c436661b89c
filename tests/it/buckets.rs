//! Recordings in a bucket: finished where they lie, or through scratch space; the same bytes as locally, killed anywhere, and no
//! object replaced.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use aftercast::deliver::TargetOptions;

use crate::support::assets::targets;
use crate::support::buckets::{Line, finished_locally, house, item, killed_at, large, process};
use crate::support::clients::{put, see};
use crate::support::google::google;
use crate::support::http::{Response, forward, read_request, reply, serve};
use crate::support::recordings::{ffmpeg, made, packets, without_moov};
use crate::support::stores::{S3, azure, s3};
use crate::support::{Sandbox, config_with_targets};

pub(super) fn keys(server: &S3, bucket: &str) -> Vec<String> {
    server.listing(bucket).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_header_last_mp4_is_finished_inside_its_bucket() {
    let server = s3();
    let target = server.bucket("inside");
    let line = Line::to(server.address());
    let sandbox = house(&target, line.address);
    let original = fs::read(large()).unwrap();
    put(&target, "old/live/x.mp4", original.clone());
    line.take();

    let planned = process(&sandbox, "s3://inside/old", &["--dry-run"]).expect_code(0).json_lines();
    let plan = item(&planned, "old/live/x.mp4");
    assert_eq!(
        (&plan["state"], &plan["way"], &plan["to"]),
        (&"planned".into(), &"inBucket".into(), &"old/live/x_1.mp4".into())
    );
    assert!(line.take().iter().all(|(request, _)| request.starts_with("GET ") || request.starts_with("HEAD ")));
    assert_eq!(keys(&server, "inside"), ["old/live/x.mp4"]);

    let done = process(&sandbox, "s3://inside/old/", &[]).expect_code(0).json_lines();
    assert_eq!(item(&done, "old/live/x.mp4")["state"], "finished", "{done:?}");
    let requests = line.take();
    let sent: usize = requests.iter().map(|(_, bytes)| bytes).sum();
    assert!(sent <= 8 << 20, "{sent} bytes were sent");
    let planned = usize::try_from(plan["transferred"]["sentBytes"].as_u64().unwrap()).unwrap();
    // The end of an upload has a body, too.
    assert!((planned..planned + 4096).contains(&sent), "{sent} bytes for {planned}");
    assert!(see(&target, "old/live/x_1.mp4").bytes == finished_locally(large(), "live/x.mp4"), "not as locally");
    assert!(see(&target, "old/live/x.mp4").bytes == original);

    let again = process(&sandbox, "s3://inside/old", &[]).expect_code(0).json_lines();
    assert_eq!(item(&again, "old/live/x.mp4")["state"], "alreadyFinished", "{again:?}");
    assert_eq!(item(&again, "old/live/x_1.mp4")["state"], "complete", "{again:?}");
    assert!(line.take().iter().all(|(request, _)| request.starts_with("GET ") || request.starts_with("HEAD ")));

    // Whoever deletes or replaces the result gets another one.
    targets(target.clone()).delete("cloud", "old/live/x_1.mp4").unwrap();
    let anew = process(&sandbox, "s3://inside/old", &[]).expect_code(0).json_lines();
    assert_eq!(item(&anew, "old/live/x.mp4")["state"], "finished", "{anew:?}");
    assert!(see(&target, "old/live/x_1.mp4").bytes == finished_locally(large(), "live/x.mp4"), "not as locally");
}

#[test]
fn of_an_flv_the_header_goes_up_and_the_store_copies_the_rest() {
    let server = s3();
    let target = server.bucket("tags");
    let line = Line::to(server.address());
    let sandbox = house(&target, line.address);
    let flv = sandbox.path().join("x.flv");
    let (from, to) = (large().to_str().unwrap(), flv.to_str().unwrap());
    ffmpeg(&["-i", from, "-c", "copy", "-flvflags", "no_duration_filesize", to]);
    let original = fs::read(&flv).unwrap();
    put(&target, "old/live/x.flv", original.clone());
    line.take();
    let done = process(&sandbox, "s3://tags/old", &[]).expect_code(0).json_lines();
    assert_eq!(item(&done, "old/live/x.flv")["to"], "old/live/x.mp4", "{done:?}");
    let sent: usize = line.take().iter().map(|(_, bytes)| bytes).sum();
    assert!(sent <= 8 << 20 && sent < original.len(), "{sent} bytes were sent of {}", original.len());
    assert!(see(&target, "old/live/x.mp4").bytes == finished_locally(&flv, "live/x.flv"), "not as locally");
    assert!(see(&target, "old/live/x.flv").bytes == original);
    let again = process(&sandbox, "s3://tags/old", &[]).expect_code(0).json_lines();
    assert_eq!(item(&again, "old/live/x.flv")["state"], "alreadyFinished", "{again:?}");
    assert_eq!(keys(&server, "tags"), ["old/live/x.flv", "old/live/x.mp4"]);
}

#[test]
fn killed_at_every_request_neither_original_nor_result_is_missing() {
    let server = s3();
    let target = server.bucket("killed-inside");
    let line = Line::to(server.address());
    let original = fs::read(large()).unwrap();
    let expected = finished_locally(large(), "x.mp4");
    let bytes_of =
        |key: &str| keys(&server, "killed-inside").contains(&key.to_owned()).then(|| see(&target, key).bytes);
    let mut n = 0;
    loop {
        n += 1;
        let (url, key) = (format!("s3://killed-inside/run{n}"), format!("run{n}/x.mp4"));
        let result = format!("run{n}/x_1.mp4");
        put(&target, &key, original.clone());
        let sandbox = house(&target, line.address);
        let was_cut = killed_at(n, &line, &sandbox, &url);
        let (first, second) = (bytes_of(&key), bytes_of(&result));
        assert!(first.is_some_and(|bytes| bytes == original), "{n}: the original is gone or another one");
        assert!(second.is_none_or(|bytes| bytes == expected), "{n}: half an object under its final key");
        process(&sandbox, &url, &[]).expect_code(0);
        assert!(bytes_of(&key).is_some_and(|bytes| bytes == original), "{n}");
        assert!(bytes_of(&result).is_some_and(|bytes| bytes == expected), "{n}");
        if !was_cut {
            break;
        }
    }
    let _ = writeln!(std::io::stdout(), "killed at each of {} requests", n - 1);
    assert!(n > 15, "only {n} requests");
    // One is left where the answer with its id was never heard: it could be another program's.
    let open = asked(&server, "GET /killed-inside?uploads");
    assert!(open.matches("<Upload>").count() <= 1, "uploads are left open: {open}");
}

#[test]
fn an_upload_of_another_program_under_the_key_of_the_result_goes_on() {
    let server = s3();
    let target = server.bucket("others");
    let line = Line::to(server.address());
    let sandbox = house(&target, line.address);
    put(&target, "old/x.mp4", fs::read(large()).unwrap());
    assert!(asked(&server, "POST /others/old/x_1.mp4?uploads").contains("<UploadId>"));
    process(&sandbox, "s3://others/old", &[]).expect_code(0);
    assert!(see(&target, "old/x_1.mp4").bytes == finished_locally(large(), "x.mp4"), "not as locally");
    let open = asked(&server, "GET /others?uploads");
    assert_eq!(open.matches("<Upload>").count(), 1, "{open}");
}

/// What the server answers to a request without credentials and a body.
fn asked(server: &S3, request: &str) -> String {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    write!(stream, "{request} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", server.address()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// One of each kind, by the key below the prefix.
fn of_every_kind(put: &dyn Fn(&str, Vec<u8>)) {
    let read = |path: &Path| fs::read(path).unwrap();
    put("done.mp4", read(&made("mp4-faststart", 2)));
    put("header-last.mp4", read(&made("mp4", 2)));
    put("fragments.mp4", read(&made("mp4-fragmented", 4)));
    put("named.mp4.tmp", read(&made("mp4-faststart", 3)));
    put("spliced.flv", read(&made("flv", 2)));
    put("stream.ts", read(&made("ts", 2)));
    put("crashed/room_2.mp4.tmp", read(&without_moov(&made("mp4", 6))));
    put("crashed/room_1.mp4", read(&made("mp4-faststart", 4)));
    put("hls/show.m3u8", b"#EXTM3U\n#EXTINF:2,\nshow0.ts\n#EXT-X-ENDLIST\n".to_vec());
    put("hls/show0.ts", read(&made("ts", 2)));
    put("dash/show.mpd", b"<MPD/>".to_vec());
    put("dash/video/high/media.mp4", read(&made("mp4", 2)));
    put("notes.txt", b"text".to_vec());
}

fn finish_every_kind(target: &TargetOptions, url: &str, bucket_way: &str) {
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[target], ""));
    of_every_kind(&|key, bytes| put(target, &format!("old/{key}"), bytes));
    let dry = sandbox.run(&["--json", "recover", url, "--dry-run"]).expect_code(0).json_lines();
    let way = |key: &str| item(&dry, &format!("old/{key}"))["way"].clone();
    assert_eq!(way("header-last.mp4"), bucket_way);
    assert_eq!(way("spliced.flv"), "scratch");
    let waiting = sandbox.run(&["--json", "process", url, "--dry-run"]).expect_code(0).json_lines();
    assert_eq!(item(&waiting, "old/named.mp4.tmp")["state"], "waiting", "{waiting:?}");

    let done = sandbox.run(&["--json", "recover", url]).expect_code(0).json_lines();
    for (key, state, to) in [
        ("done.mp4", "complete", ""),
        ("header-last.mp4", "finished", "header-last_1.mp4"),
        ("fragments.mp4", "finished", "fragments_1.mp4"),
        ("named.mp4.tmp", "finished", "named.mp4"),
        ("spliced.flv", "finished", "spliced.mp4"),
        ("stream.ts", "finished", "stream.mp4"),
        ("crashed/room_2.mp4.tmp", "finished", "crashed/room_2.mp4"),
        ("crashed/room_1.mp4", "complete", ""),
    ] {
        let item = item(&done, &format!("old/{key}"));
        assert_eq!(item["state"], state, "{item}");
        if to.is_empty() {
            continue;
        }
        assert_eq!(item["to"], format!("old/{to}"), "{item}");
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        fs::write(&after, see(target, &format!("old/{to}")).bytes).unwrap();
        fs::write(&before, see(target, &format!("old/{key}")).bytes).unwrap();
        if !key.starts_with("crashed") {
            assert_eq!(packets(&after).len(), packets(&before).len(), "{key}");
        }
        assert!(!packets(&after).is_empty(), "{key}");
    }
    let report = done.last().unwrap();
    assert_eq!(report["leftAlone"], 5, "a playlist, a manifest, the media of both, and a text: {report}");
    assert!(
        !sandbox
            .path()
            .join("state/scratch")
            .read_dir()
            .unwrap()
            .any(|owner| { owner.unwrap().path().read_dir().unwrap().next().is_some() })
    );
    let again = sandbox.run(&["--json", "recover", url]).expect_code(0).json_lines();
    for key in ["header-last.mp4", "fragments.mp4", "named.mp4.tmp", "spliced.flv", "stream.ts"] {
        assert_eq!(item(&again, &format!("old/{key}"))["state"], "alreadyFinished", "{again:?}");
    }
}

#[test]
fn recordings_of_every_kind_are_finished_in_a_bucket_of_s3() {
    let server = s3();
    let target = server.bucket("kinds");
    finish_every_kind(&target, "s3://kinds/old", "inBucket");
}

#[test]
fn recordings_of_every_kind_are_finished_in_a_container_of_azure() {
    let server = azure();
    let target = server.container("kinds");
    finish_every_kind(&target, "az://kinds/old", "inBucket");
}

#[test]
fn recordings_of_every_kind_are_finished_in_a_bucket_of_google() {
    let server = google();
    let target = server.bucket("kinds");
    finish_every_kind(&target, "gs://kinds/old", "inBucket");
}

#[test]
fn fragments_become_one_movie_with_the_bytes_of_local_finishing() {
    let server = s3();
    let target = server.bucket("fragments");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    let source = made("mp4-fragmented", 6);
    put(&target, "old/x.mp4", fs::read(&source).unwrap());
    let done = process(&sandbox, "s3://fragments/old", &[]).expect_code(0).json_lines();
    assert_eq!(item(&done, "old/x.mp4")["way"], "inBucket", "{done:?}");
    assert!(see(&target, "old/x_1.mp4").bytes == finished_locally(&source, "x.mp4"), "not as locally");
}

/// A house whose store does to copies of ranges what is chosen; `None`: it refuses them.
fn with_copies(target: &TargetOptions, server: &S3, change: Option<fn(&str) -> String>) -> Sandbox {
    let server = server.address();
    let address = serve(move |client| {
        let Some(mut request) = read_request(&client, |_, length| length) else { return };
        if request.header("x-amz-copy-source").is_some() {
            let Some(change) = change else {
                return reply(&client, &Response::error(501, "NotImplemented").bytes(false));
            };
            // The signature covers the range; the store takes requests of anybody.
            request.headers.retain(|(name, _)| name != "authorization");
            let range = request.headers.iter_mut().find(|(name, _)| name == "x-amz-copy-source-range");
            if let Some((_, range)) = range {
                *range = change(range);
            }
        }
        reply(&client, &forward(server, &request).unwrap_or_default());
    });
    house(target, address)
}

#[test]
fn a_store_that_copies_no_ranges_gets_what_was_finished_in_scratch_space() {
    let server = s3();
    let target = server.bucket("no-copies");
    let sandbox = with_copies(&target, &server, None);
    put(&target, "old/x.mp4", fs::read(large()).unwrap());
    let done = process(&sandbox, "s3://no-copies/old", &[]).expect_code(0).json_lines();
    let item = item(&done, "old/x.mp4");
    assert_eq!(item["way"], "scratch", "{item}");
    assert_eq!(keys(&server, "no-copies"), ["old/x.mp4", "old/x_1.mp4"]);
    let dir = tempfile::tempdir().unwrap();
    let after = dir.path().join("after.mp4");
    fs::write(&after, see(&target, "old/x_1.mp4").bytes).unwrap();
    assert_eq!(packets(&after).len(), packets(large()).len());
}

/// The same number of bytes, one before those that were asked for.
fn one_before(range: &str) -> String {
    let numbers: Vec<u64> = range.trim_start_matches("bytes=").split('-').map(|n| n.parse().unwrap()).collect();
    format!("bytes={}-{}", numbers[0] - 1, numbers[1] - 1)
}

#[test]
fn a_store_that_copies_other_bytes_is_found_out_and_the_original_stays() {
    let server = s3();
    let target = server.bucket("wrong-copies");
    let sandbox = with_copies(&target, &server, Some(one_before));
    let original = fs::read(large()).unwrap();
    put(&target, "old/x.mp4", original.clone());
    let failed = process(&sandbox, "s3://wrong-copies/old", &[]).expect_code(4).json_lines();
    let item = item(&failed, "old/x.mp4");
    assert!(item["message"].as_str().unwrap().contains("differs from what was planned: the media"), "{item}");
    assert_eq!(keys(&server, "wrong-copies"), ["old/x.mp4"], "the wrong object is removed");
    assert!(see(&target, "old/x.mp4").bytes == original);
}

#[test]
fn a_place_that_overlaps_with_a_target_is_refused() {
    let server = s3();
    let target = server.bucket("overlap");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    for url in ["s3://overlap/pre", "s3://overlap", "s3://overlap/pre/below"] {
        let refused = sandbox.run(&["process", url]).expect_code(3);
        assert!(refused.err.contains("overlaps with the target `cloud`"), "{}", refused.err);
        assert!(refused.err.contains("Nothing was read or changed"), "{}", refused.err);
    }
    for (args, words) in [
        (vec!["process", "s3://overlap/old", "/srv"], "one URL"),
        (vec!["process", "s3://overlap/old", "--wait"], "do not apply"),
    ] {
        let refused = sandbox.run(&args).expect_code(2);
        assert!(refused.err.contains(words), "{}", refused.err);
    }
}

#[test]
fn scratch_space_is_bounded() {
    let server = s3();
    let target = server.bucket("scratch");
    let sandbox =
        Sandbox::with_config(|dir| config_with_targets(dir, &[&target], "[archive]\nscratch_size = \"128MiB\"\n"));
    put(&target, "old/x.flv", vec![b'F'; 40 << 20]);
    let failed = process(&sandbox, "s3://scratch/old", &[]).expect_code(5).json_lines();
    let item = item(&failed, "old/x.flv");
    assert_eq!((&item["state"], &item["class"]), (&"failed".into(), &"environment".into()), "{item}");
    assert!(item["hint"].as_str().unwrap().contains("archive.scratch_size"), "{item}");
    assert_eq!(keys(&server, "scratch"), ["old/x.flv"]);
}

#[test]
fn shards_of_a_bucket_are_all_of_it() {
    let server = s3();
    let target = server.bucket("shards");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    let bytes = fs::read(made("mp4-faststart", 2)).unwrap();
    for room in 0..12 {
        put(&target, &format!("old/room{room}.mp4"), bytes.clone());
    }
    let mut found = Vec::new();
    for shard in ["1/2", "2/2"] {
        let lines = process(&sandbox, "s3://shards/old", &["--shard", shard]).expect_code(0).json_lines();
        found.extend(lines.iter().filter_map(|line| line["key"].as_str()).map(str::to_owned));
    }
    found.sort();
    assert_eq!(found, keys(&server, "shards"));
}
