//! SIGTERM while something long is under way: the daemon ends by itself, and nothing is held against a recording.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::daemon::{Daemon, until};
use crate::support::http::{Request, Response, read_request, reply, serve};
use crate::support::recordings::{made, padded, without_moov};
use crate::support::stores::{ACCESS_KEY, SECRET_KEY, s3};
use crate::support::{Sandbox, config_with_targets, tree};

/// What a daemon says whose steps took too long, and that it then ended without them.
const CUT_OFF: &str = "did not finish in time";

/// Ends a daemon and fails if something under way had to be abandoned by the end of the process.
#[track_caller]
fn stop(mut daemon: Daemon) {
    daemon.signal("TERM");
    let status = daemon.ended();
    let log = daemon.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(CUT_OFF), "{log}");
}

/// Stops a daemon that waits for a store that takes a request and does not answer it.
fn stopped_in(bucket: &str, size_bytes: usize, is_silent: impl Fn(&Request) -> bool + Send + Sync + Clone + 'static) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(AtomicBool::new(false));
    let (notes, ends) = (Arc::clone(&asked), Arc::clone(&over));
    let address = serve(move |client| {
        let Some(request) = read_request(&client, |_, length| length) else { return };
        if is_silent(&request) {
            notes.lock().unwrap().push(format!("{} {}", request.method, request.target));
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        } else {
            reply(&client, &Response::new(404).bytes(request.method == "HEAD"));
        }
    });
    let server = s3();
    let mut cloud = server.target(bucket, ACCESS_KEY, SECRET_KEY);
    cloud.endpoint = Some(format!("http://{address}"));
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&cloud], ""));
    fs::write(sandbox.root().join("room.mp4"), padded("room", size_bytes)).unwrap();
    let daemon = Daemon::start(&sandbox);
    // It is asked about other things at its start; the delivery has begun when it is asked about the recording.
    let is_about_it = |asked: &String| asked.contains("room.mp4");
    until("the store is asked", || asked.lock().unwrap().iter().any(is_about_it).then_some(()));
    stop(daemon);
    over.store(true, Ordering::Relaxed);
    let queue = sandbox.run(&["queue", "list", "--json"]).expect_code(0);
    assert_eq!(queue.json_lines().len(), 1, "it stays queued: {}", queue.out);
    assert!(sandbox.root().join("room.mp4").exists());
}

#[test]
fn a_daemon_whose_store_is_silent_ends_when_it_is_told_to() {
    stopped_in("silent-look", 1, |_| true);
}

#[test]
fn a_daemon_whose_store_is_silent_at_the_beginning_of_an_upload_ends() {
    // Larger than what is sent in one request.
    stopped_in("silent-begin", 20 << 20, |request| request.method == "POST");
}

/// Bytes that a process has read so far.
fn bytes_read(id: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{id}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).and_then(|n| n.parse().ok()).unwrap()
}

/// Ends a daemon that looks through a recording without a header for longer than anybody waits, and starts another one.
fn stopped_in_media(contents: impl FnOnce(&File)) {
    let sandbox = Sandbox::new();
    // Of the same stream: it says how the pictures are coded.
    fs::copy(made("mp4", 4), sandbox.root().join("room_1.mp4")).unwrap();
    sandbox.process();
    let sound = tree_names(&sandbox);
    let path = sandbox.root().join("room.mp4.tmp");
    contents(&File::create(&path).unwrap());
    let before = fs::metadata(&path).unwrap().len();
    for _ in 0..3 {
        let daemon = Daemon::start(&sandbox);
        until("the recording is looked through", || (bytes_read(daemon.id()) > 300 << 20).then_some(()));
        stop(daemon);
    }
    let names = tree_names(&sandbox);
    assert_eq!(names, [&["room.mp4.tmp".to_owned()], &sound[..]].concat(), "no partial is left");
    assert_eq!(fs::metadata(&path).unwrap().len(), before);
    let queue = sandbox.run(&["queue", "list", "--json"]).expect_code(0);
    assert!(!queue.out.contains("quarantined"), "{}", queue.out);
    assert_eq!(sandbox.vods().len(), 1);
}

/// Names only: to digest a sparse terabyte takes long.
fn tree_names(sandbox: &Sandbox) -> Vec<String> {
    let names = fs::read_dir(sandbox.root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != aftercast::durable::ROOT_FILE).collect();
    names.sort();
    names
}

#[test]
fn a_daemon_that_looks_for_the_end_of_a_huge_file_ends_when_it_is_told_to() {
    stopped_in_media(|file| {
        file.write_all_at(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\0mdat", 0).unwrap();
        file.set_len(1 << 40).unwrap();
    });
}

#[test]
fn a_daemon_that_salvages_ends_when_it_is_told_to() {
    let mut crashed = fs::read(without_moov(&made("mp4", 4))).unwrap();
    let mdat = crashed.windows(4).position(|name| name == b"mdat").unwrap();
    // To the end of the file (ISO/IEC 14496-12 §4.2).
    crashed[mdat - 4..mdat].fill(0);
    stopped_in_media(|file| {
        file.write_all_at(&crashed, 0).unwrap();
        // Far behind lies more of the same: what is between is looked through.
        let far = 1_u64 << 40;
        file.write_all_at(&crashed[mdat + 4..], far).unwrap();
    });
}

#[test]
fn an_idle_daemon_ends_when_it_is_told_to() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("mp4-faststart", 2), "done.mp4");
    let daemon = Daemon::start(&sandbox);
    until("it is finished", || (sandbox.vods().len() == 1).then_some(()));
    stop(daemon);
    assert_eq!(tree(&sandbox.root()).len(), 1);
}
