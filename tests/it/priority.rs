//! What a crashed recording costs a live server on the same machine.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use crate::support::Sandbox;
use crate::support::daemon::{Daemon, until};

/// Niceness of the threads of a process (`proc_pid_stat(5)`, field 19).
fn niceness(id: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let of = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        // The name in parentheses may hold spaces.
        let (_, behind_name) = stat.rsplit_once(") ")?;
        behind_name.split(' ').nth(16)?.parse().ok()
    };
    tasks.flatten().filter_map(of).collect()
}

#[test]
fn a_crashed_recording_is_analysed_at_a_lower_priority_though_its_end_was_seen() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let usual = niceness(daemon.id());
    assert!(usual.iter().all(|nice| *nice == usual[0]), "{usual:?}");
    let file = File::create(sandbox.root().join("room.mp4")).unwrap();
    // Without a header, and so long that it takes longer than this test looks.
    file.write_all_at(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\0mdat", 0).unwrap();
    file.set_len(1 << 40).unwrap();
    drop(file);
    let lower = (usual[0] + 10).min(19);
    until("a thread with a lower priority", || niceness(daemon.id()).contains(&lower).then_some(()));
    daemon.stop();
}
