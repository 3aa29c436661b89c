//! One test per promise of `docs/invariants.md`, named after it. The fourth is `kill.rs`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use aftercast::deliver::TargetOptions;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{cut, made, packets};
use crate::support::stores::{ACCESS_KEY, SECRET_KEY, free_port, s3};
use crate::support::tap::{Fault, Tap};
use crate::support::{Sandbox, config_with_targets, standard_config, tree};

fn freeing(dir: &Path, target: &TargetOptions) -> String {
    config_with_targets(dir, &[target], "[retain]\ndelete_local = \"delivered\"")
}

/// Digest of a file's bytes; `None` where there is no such file.
fn digest(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| blake3::hash(&bytes).to_hex().to_string())
}

// 1

/// The bytes that must never change: of an MP4 what its `mdat` holds (a header may come in front of it in place), of
/// anything else the whole file.
fn media_of(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let after = |name: &[u8]| bytes.windows(4).rposition(|w| w == name);
    match (after(b"mdat"), after(b"moov")) {
        (Some(mdat), Some(moov)) if mdat < moov => bytes[mdat + 4..moov - 4].to_vec(),
        _ => bytes,
    }
}

fn holds(path: &Path, media: &[u8]) -> bool {
    let bytes = fs::read(path).unwrap();
    let head = &media[..64];
    bytes.windows(64).enumerate().any(|(at, window)| window == head && bytes[at..].starts_with(media))
}

/// Kills `process` after every operation in turn: as long as the original is there it is what it was, and when it is gone
/// the finished file stands with all its packets and its record.
#[test]
fn promise_1_the_original_is_untouched_until_its_finished_file_is_durable_and_checked() {
    for (recipe, name) in [("flv", "room1.flv"), ("mp4", "room1.mp4.tmp")] {
        let original = made(recipe, 2);
        let (expected, media) = (packets(&original).len(), media_of(&original));
        let mut lasted_to_the_end = false;
        for kill_after in 1..40 {
            let sandbox = Sandbox::new();
            let source = sandbox.put(&original, name);
            let root = sandbox.root();
            let mut command = sandbox.command(&["recover", root.to_str().unwrap()]);
            let ended = command.env("AFTERCAST_KILL_AFTER", kill_after.to_string()).output().unwrap();
            let finished = sandbox.root().join("room1.mp4");
            if source.exists() {
                assert!(holds(&source, &media), "{name}, killed after {kill_after}: its media are not what they were");
            } else {
                assert_eq!(packets(&finished).len(), expected, "{name}, killed after {kill_after}");
            }
            if ended.status.signal() != Some(9) {
                assert!(!source.exists() && finished.exists());
                lasted_to_the_end = true;
                break;
            }
        }
        assert!(lasted_to_the_end, "no run came to its end");
    }
}

// 2

/// Reads a name as soon as it exists, again and again until it is told to stop; gives every content that it saw.
fn reader(path: PathBuf, stop: Arc<AtomicBool>) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        loop {
            let is_last = stop.load(Ordering::SeqCst);
            if let Some(digest) = digest(&path)
                && seen.last() != Some(&digest)
            {
                seen.push(digest);
            }
            if is_last {
                return seen;
            }
        }
    })
}

#[test]
fn promise_2_a_final_name_appears_only_complete() {
    let sandbox = Sandbox::new();
    let sources =
        [("flv", "a.flv", "a.mp4"), ("mp4", "b.mp4.tmp", "b.mp4"), ("webm-live", "c.webm.tmp_extension", "c.webm")];
    let stop = Arc::new(AtomicBool::new(false));
    let readers = sources.map(|(recipe, name, last)| {
        sandbox.put(&made(recipe, 6), name);
        let path = sandbox.root().join(last);
        (path.clone(), reader(path, Arc::clone(&stop)))
    });
    let root = sandbox.root();
    sandbox.run(&["recover", root.to_str().unwrap()]).expect_code(0);
    stop.store(true, Ordering::SeqCst);
    for (path, reader) in readers {
        assert_eq!(reader.join().unwrap(), [digest(&path).unwrap()], "{}", path.display());
    }
}

/// A cut in the middle of writing leaves no final name, and the next start no partial.
#[test]
fn promise_2_what_a_kill_leaves_half_written_never_bears_the_final_name() {
    let is_partial = |name: &String| name.starts_with(".aftercast-") && name.ends_with(".partial");
    for step in ["partial created", "partial synced"] {
        let sandbox = Sandbox::new();
        sandbox.put(&made("flv", 2), "room1.flv");
        let root = sandbox.root();
        let mut command = sandbox.command(&["process", root.to_str().unwrap()]);
        let killed = command.env("AFTERCAST_KILL_AFTER", format!("{step}:1")).output().unwrap();
        assert_eq!(killed.status.signal(), Some(9));
        let left: Vec<_> = tree(&root).into_keys().collect();
        assert!(left.iter().all(|name| name == "room1.flv" || is_partial(name)), "{left:?}");
        // Where the file system has files without a name, what is not complete has none, and a kill leaves nothing of it.
        assert!(step == "partial created" || left.len() == 2, "{left:?}");
        sandbox.process().expect_code(0);
        assert_eq!(tree(&root).into_keys().collect::<Vec<_>>(), ["room1.mp4"]);
    }
}

// 3

/// A store that says yes to every upload and remembers nothing but a wrong size.
fn liar() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let puts = Arc::new(AtomicU32::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let puts = Arc::clone(&puts);
            std::thread::spawn(move || lie(stream, &puts));
        }
    });
    address
}

fn lie(mut stream: TcpStream, puts: &AtomicU32) -> Option<()> {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            (stream.read(&mut byte).ok()? == 1).then_some(())?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).and_then(|l| l.parse().ok());
        std::io::copy(&mut (&mut stream).take(length.unwrap_or(0)), &mut std::io::sink()).ok()?;
        let is_put = head.starts_with("put ");
        let before = puts.fetch_add(u32::from(is_put), Ordering::SeqCst);
        let answer = match (is_put, before) {
            _ if !is_put && !head.starts_with("head ") => "404 Not Found\r\nContent-Length: 0",
            (true, _) => "200 OK\r\nETag: \"5d41402abc4b2a76b9719d911017c592\"\r\nContent-Length: 0",
            (false, 0) => "404 Not Found\r\nContent-Length: 0",
            (false, _) => {
                "200 OK\r\nETag: \"5d41402abc4b2a76b9719d911017c592\"\r\nContent-Length: 7\r\n\
                 Last-Modified: Wed, 04 Mar 2026 14:30:15 GMT"
            }
        };
        stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).ok()?;
    }
}

fn s3_target(address: SocketAddr) -> TargetOptions {
    let mut target = s3().target("nowhere", ACCESS_KEY, SECRET_KEY);
    target.endpoint = Some(format!("http://{address}"));
    target
}

/// The recording is finished and catalogued, and stays on the disk because no store has proven to hold it.
#[track_caller]
fn assert_stays(sandbox: &Sandbox) {
    let local = sandbox.root().join("room1.mp4");
    let whole = digest(&local).expect("the local file stays");
    let vods = sandbox.vods();
    assert_eq!(vods.len(), 1);
    assert_eq!(vods[0]["remote"].as_array().map_or(0, Vec::len), 0, "{}", vods[0]);
    assert!(vods[0].get("freedAt").is_none(), "{}", vods[0]);
    sandbox.run(&["retain"]);
    assert_eq!(digest(&local), Some(whole), "`retain` has no permit either");
}

#[test]
fn promise_3_a_store_that_lies_about_what_it_holds_frees_nothing() {
    let server = s3();
    let target = s3_target(liar());
    let sandbox = Sandbox::with_config(|dir| freeing(dir, &target));
    sandbox.put(&made("flv", 2), "room1.flv");
    let run = sandbox.process();
    assert!([4, 5].contains(&run.code()), "{run:?}");
    assert_stays(&sandbox);
    drop(server);
}

#[test]
fn promise_3_a_store_that_damages_what_it_gets_frees_nothing() {
    let server = s3();
    let tap = Tap::on(server.address());
    tap.spoil(Fault::BitFlipped, "PUT /promise-3");
    let mut target = server.bucket("promise-3");
    target.endpoint = Some(format!("http://{}", tap.address));
    let sandbox = Sandbox::with_config(|dir| freeing(dir, &target));
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.process().expect_code(5);
    assert_stays(&sandbox);
}

#[test]
fn promise_3_an_unreachable_store_frees_nothing() {
    let server = s3();
    let target = s3_target((Ipv4Addr::LOCALHOST, free_port()).into());
    let sandbox = Sandbox::with_config(|dir| freeing(dir, &target));
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.process().expect_code(5);
    assert_stays(&sandbox);
    drop(server);
}

#[test]
fn promise_3_a_file_that_changed_after_its_delivery_is_not_freed() {
    let sandbox = Sandbox::new();
    let local = sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    sandbox.process().expect_code(0);
    File::options().append(true).open(&local).unwrap().write_all(b"more").unwrap();
    let config = standard_config(sandbox.path(), "[retain]\ndelete_local = \"delivered\"");
    fs::write(sandbox.path().join("config.toml"), config).unwrap();
    sandbox.run(&["retain"]).expect_code(0);
    assert!(local.exists());
}

// 5

#[test]
fn promise_5_an_unreachable_store_delays_delivery_and_nothing_else() {
    let server = s3();
    let port = free_port();
    let mut target = server.bucket("promise-5");
    target.endpoint = Some(format!("http://127.0.0.1:{port}"));
    let sandbox = Sandbox::with_config(|dir| freeing(dir, &target));
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.put(&made("mp4-faststart", 2), "room2.mp4");
    let run = sandbox.process().expect_code(5);
    assert!(run.out.contains("undelivered") && run.err.contains("2 deliveries pending"), "{run:?}");
    let names: Vec<_> = tree(&sandbox.root()).into_keys().collect();
    assert_eq!(names, ["room1.mp4", "room2.mp4"]);
    assert_eq!(sandbox.vods().len(), 2);

    let queue = sandbox.run(&["queue", "list"]).expect_code(0);
    assert!(queue.out.contains("refused"), "it says why: {}", queue.out);
    assert_eq!(queue.out.lines().filter(|l| l.contains("pending")).count(), 2, "{}", queue.out);

    let _now_it_is_there = Tap::at(port, server.address());
    sandbox.run(&["queue", "retry"]).expect_code(0);
    sandbox.process().expect_code(0);
    for vod in sandbox.vods() {
        assert_eq!(vod["remote"].as_array().map(Vec::len), Some(1), "{vod}");
        assert!(vod["freedAt"].is_i64(), "{vod}");
    }
    assert!(tree(&sandbox.root()).is_empty());
    sandbox.run(&["vod", "verify"]).expect_code(0);
    assert_eq!(sandbox.run(&["queue", "list"]).expect_code(0).out, "");
}

// 6

#[test]
fn promise_6_a_file_that_makes_the_process_die_twice_is_quarantined_with_its_reason() {
    let sandbox = Sandbox::new();
    let source = sandbox.put(&made("flv", 2), "deadly.flv");
    let before = tree(&sandbox.root());
    let (root, log) = (sandbox.root(), sandbox.path().join("steps"));
    // The second start first begins anew what the first left; that is no attempt yet.
    for kill_after in ["journal begun:1", "journal begun:2"] {
        let _ = fs::remove_file(&log);
        let mut command = sandbox.command(&["process", root.to_str().unwrap()]);
        command.env("AFTERCAST_KILL_AFTER", kill_after).env("AFTERCAST_STEP_LOG", &log);
        assert_eq!(command.output().unwrap().status.signal(), Some(9));
        let steps = fs::read_to_string(&log).unwrap();
        assert!(steps.ends_with(" journal begun\n"), "it died in the attempt: {steps}");
    }
    let run = sandbox.process().expect_code(4);
    assert!(run.out.contains("quarantined"), "{}", run.out);
    assert_eq!(tree(&root), before, "it is where it was");
    let queue = sandbox.run(&["queue", "list"]).expect_code(0).out;
    assert!(queue.contains("deadly.flv") && queue.contains("quarantined"), "{queue}");
    assert!(queue.contains("the process died"), "{queue}");

    // A person who thinks otherwise may have it tried again.
    sandbox.run(&["process", "--again", source.to_str().unwrap()]).expect_code(0);
    assert_eq!(sandbox.vods().len(), 1);
}

// 7

#[test]
fn promise_7_an_original_of_which_something_was_left_out_stays_and_the_record_names_it() {
    for (recipe, name, finished) in [("ts", "room1.ts", "room1.mp4"), ("flv", "room1.flv", "room1.mp4")] {
        let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[retain]\ndelete_local = \"delivered\""));
        let source = sandbox.put(&cut(&made(recipe, 2), 0.6), name);
        let before = digest(&source);
        sandbox.process().expect_code(0);
        assert_eq!(digest(&source), before, "{name}: the original stays as it is");
        let vods = sandbox.vods();
        assert_eq!(vods[0]["originalPath"], source.to_str().unwrap(), "{}", vods[0]);
        assert!(!vods[0]["defects"].as_array().unwrap().is_empty(), "{}", vods[0]);
        assert!(!sandbox.root().join(finished).exists(), "the finished file is delivered and freed");
        let again = sandbox.process().expect_code(0);
        assert!(again.out.contains("already finished"), "a kept original is never a candidate again: {}", again.out);
    }
}

#[test]
fn promise_7_keep_original_keeps_every_original() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[finish]\nkeep_original = true"));
    let flv = sandbox.put(&made("flv", 2), "room1.flv");
    let mp4 = sandbox.put(&made("mp4", 2), "room2.mp4");
    let before = tree(&sandbox.root());
    sandbox.process().expect_code(0);
    let after = tree(&sandbox.root());
    for name in ["room1.flv", "room2.mp4"] {
        assert_eq!(after[name], before[name], "not a byte, not a second of mtime, not another inode");
    }
    let originals: Vec<_> = sandbox.vods().iter().map(|v| v["originalPath"].as_str().unwrap().to_owned()).collect();
    assert!(originals.contains(&flv.to_str().unwrap().to_owned()), "{originals:?}");
    assert!(originals.contains(&mp4.to_str().unwrap().to_owned()), "{originals:?}");
    sandbox.process().expect_code(0);
    assert_eq!(tree(&sandbox.root()), after, "a kept original is never a candidate again");
    assert_eq!(sandbox.vods().len(), 2);
}

#[test]
fn promise_7_losing_the_catalogue_costs_work_and_no_recording() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.put(&made("mp4-faststart", 2), "room2.mp4");
    sandbox.process().expect_code(0);
    let (ids, files) = (ids(&sandbox), tree(&sandbox.root()));
    fs::remove_dir_all(sandbox.path().join("state")).unwrap();
    sandbox.run(&["catalog", "rebuild"]).expect_code(0);
    assert_eq!(self::ids(&sandbox), ids);
    assert_eq!(tree(&sandbox.root()), files);
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    let mut ids: Vec<_> = sandbox.vods().iter().map(|v| v["vodId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

// 8

#[test]
fn promise_8_one_process_owns_a_state_directory_and_others_reach_it_through_its_socket() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("flv", 2), "room1.flv");
    let daemon = Daemon::start(&sandbox);
    until("the recording is catalogued", || (sandbox.vods().len() == 1).then_some(()));
    let socket = sandbox.path().join("state/aftercast.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let second = sandbox.run(&["watch"]).expect_code(6);
    assert!(second.err.contains("Hint: "), "{}", second.err);
    let table = sandbox.run(&["vod", "list"]).expect_code(0).out;
    daemon.stop();
    assert!(!socket.exists());
    assert_eq!(sandbox.run(&["vod", "list"]).expect_code(0).out, table, "the same, alone and beside the daemon");
}

/// The owner holds the lock but has no socket: a second process does nothing and says so.
#[test]
fn promise_8_without_a_socket_a_second_process_ends_with_6() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("flv", 2), "room1.flv");
    let before = tree(&sandbox.root());
    let (held, release) = hold_the_state_directory(&sandbox);
    sandbox.process().expect_code(6);
    sandbox.run(&["vod", "list"]).expect_code(6);
    assert_eq!(tree(&sandbox.root()), before);
    drop(release);
    held.join().unwrap();
    sandbox.process().expect_code(0);
}

fn hold_the_state_directory(sandbox: &Sandbox) -> (JoinHandle<()>, mpsc::Sender<()>) {
    let (release, until_released) = mpsc::channel::<()>();
    let (ready, is_held) = mpsc::channel();
    let state = sandbox.path().join("state");
    let held = std::thread::spawn(move || {
        let catalog = aftercast::catalog::Catalog::open(&state).unwrap();
        ready.send(()).unwrap();
        let _ = until_released.recv();
        drop(catalog);
    });
    is_held.recv().unwrap();
    (held, release)
}

#[test]
fn promise_8_the_state_directory_is_for_its_owner_alone() {
    let sandbox = Sandbox::new();
    fs::remove_dir(sandbox.path().join("state")).unwrap();
    sandbox.process().expect_code(0);
    let mode = fs::metadata(sandbox.path().join("state")).unwrap().mode() & 0o777;
    assert_eq!(mode & 0o007, 0, "{mode:o}");
}
