//! The state directory: its room, its lock, who may use it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use crate::bad_input::{Mount, is_root};
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{RunOutput, Sandbox, standard_config, tree};

/// Less than what the catalogue wants to be free, more than nothing.
const LITTLE_BYTES: u64 = 6 << 20;

fn leave_room(dir: &Path, bytes: u64) {
    let free = aftercast::durable::free_bytes(dir).unwrap();
    fs::write(dir.join("ballast"), vec![7; usize::try_from(free - bytes).unwrap()]).unwrap();
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    tree(&sandbox.root()).into_keys().collect()
}

fn all_end_in(names: &[String], extension: &str) -> bool {
    names.iter().all(|name| Path::new(name).extension().is_some_and(|found| found == extension))
}

#[test]
fn recordings_wait_in_the_queue_while_the_state_has_no_room_and_are_finished_when_it_has() {
    if !is_root("mount") {
        return;
    }
    let sandbox =
        Sandbox::with_config(|dir| standard_config(dir, "").replace("[watch]\n", "[watch]\nrescan = \"100ms\"\n"));
    let state = sandbox.path().join("state");
    let Some(_mount) = Mount::tmpfs(&state, "32m") else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let daemon = Daemon::start(&sandbox);
    leave_room(&state, LITTLE_BYTES);
    let came: Vec<_> = (0..6).map(|n| sandbox.put(&made("ts", 2), &format!("room{n}.ts"))).collect();
    let listed = || sandbox.run(&["queue", "list"]).expect_code(0).out;
    until("all of them are listed", || {
        let listed = listed();
        came.iter()
            .all(|path| listed.contains(path.to_str().unwrap()) && listed.contains("bytes are free"))
            .then_some(())
    });
    assert!(all_end_in(&names(&sandbox), "ts"), "{:?}", names(&sandbox));
    let json = sandbox.run(&["--json", "queue", "list"]).expect_code(0).json_lines();
    assert!(
        json.iter().all(|line| line["state"] == "failed" && line["postponed"]["class"] == "environment"),
        "{json:?}"
    );

    fs::remove_file(state.join("ballast")).unwrap();
    until("all of them are finished", || (sandbox.vods().len() == came.len()).then_some(()));
    until("nothing is left", || all_end_in(&names(&sandbox), "mp4").then_some(()));
    assert!(!listed().contains(".ts"), "{}", listed());
    daemon.stop();
}

#[test]
fn a_daemon_waits_for_a_command_that_has_the_state_directory() {
    let sandbox = Sandbox::new();
    let lock = File::create(sandbox.path().join("state/lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let log = sandbox.path().join("daemon.log");
    let daemon = std::thread::scope(|scope| {
        scope.spawn(|| {
            until("it waits", || fs::read_to_string(&log).is_ok_and(|log| log.contains("waiting for")).then_some(()));
            drop(lock);
        });
        Daemon::start(&sandbox)
    });
    // Another daemon stays: nobody waits for it.
    let second = sandbox.run(&["watch"]).expect_code(6);
    assert!(!second.err.contains("waiting for"), "{}", second.err);
    daemon.stop();
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Everything below a directory, with itself, that group or others may do anything with.
fn shared(dir: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if mode_of(&path) & 0o077 != 0 {
            found.push(format!("{} {:o}", path.display(), mode_of(&path)));
        }
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

/// The same command in a process that takes nothing away from new files.
fn with_open_umask(command: &mut Command) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    let log = File::options().create(true).append(true).open(command.get_current_dir().unwrap().join("daemon.log"));
    let log = log.unwrap();
    shell.stdout(log.try_clone().unwrap()).stderr(log);
    *command = shell;
}

#[test]
fn nothing_of_the_state_is_for_others_whatever_the_umask_and_recordings_keep_their_mode() {
    let sandbox = Sandbox::new();
    let state = sandbox.path().join("state");
    fs::remove_dir(&state).unwrap();
    let recording = sandbox.put(&made("ts", 2), "room1.ts");
    set_mode(&recording, 0o644);
    let daemon = Daemon::start_with(&sandbox, with_open_umask);
    until("it is finished", || (sandbox.vods().len() == 1).then_some(()));
    assert_eq!(shared(&state), [] as [&str; 0]);
    assert!(mode_of(&state.join("aftercast.sock")) == 0o600 && mode_of(&state.join("id")) == 0o600);
    assert_eq!(mode_of(&sandbox.root().join("room1.mp4")), 0o644);
    daemon.stop();
    let mut again = sandbox.command(&["vod", "list"]);
    with_open_umask(&mut again);
    assert!(again.status().unwrap().success());
    assert_eq!(shared(&state), [] as [&str; 0]);
}

#[test]
fn a_state_directory_that_others_may_write_is_refused_with_words() {
    let sandbox = Sandbox::new();
    let state = sandbox.path().join("state");
    for mode in [0o777, 0o775, 0o702] {
        set_mode(&state, mode);
        for command in ["watch", "doctor"] {
            let refused = sandbox.run(&[command]).expect_code(5);
            let said = format!("{}{}", refused.out, refused.err);
            for words in
                ["can be written by other users", &format!("{mode:04o}"), &format!("chmod 700 {}", state.display())]
            {
                assert!(said.contains(words), "{command}: {words}: {said}");
            }
        }
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "nothing was written");
    }
    set_mode(&state, 0o755);
    let readable = sandbox.run(&["doctor"]).expect_code(0);
    assert!(readable.out.contains("mode 0755") && readable.out.contains("chmod 700"), "{}", readable.out);
    sandbox.process().expect_code(0);
    set_mode(&state, 0o700);
    assert!(!sandbox.run(&["doctor"]).expect_code(0).out.contains("chmod 700"));
}

#[test]
fn a_state_directory_of_another_user_is_refused_unless_its_owner_answers() {
    if !is_root("change an owner") {
        return;
    }
    let sandbox = Sandbox::new();
    let state = sandbox.path().join("state");
    let daemon = Daemon::start(&sandbox);
    std::os::unix::fs::chown(&state, Some(4_321), None).unwrap();
    // The daemon has it: the command goes through its socket.
    sandbox.run(&["vod", "list"]).expect_code(0);
    daemon.stop();
    let refused = sandbox.run(&["vod", "list"]).expect_code(5);
    assert!(refused.err.contains("belongs to user id 4321"), "{}", refused.err);
}

#[test]
fn a_secret_that_others_can_read_is_said_at_the_start_and_by_the_checks() {
    let sandbox = Sandbox::with_config(|dir| {
        let target = "[[deliver.target]]\nname = \"cloud\"\nurl = \"s3://b\"\nendpoint = \"http://127.0.0.1:9\"\nrequired = false\n";
        let secret = format!(
            "{target}credential_files = {{ access_key_id_file = \"{0}/secret\", secret_access_key_file = \"{0}/secret\" }}",
            dir.display()
        );
        fs::write(dir.join("secret"), "hidden").unwrap();
        standard_config(dir, &secret)
    });
    let secret = sandbox.path().join("secret");
    let times = |run: RunOutput| format!("{}{}", run.out, run.err).matches("can be read by").count();
    for (mode, expected) in [(0o644, 1), (0o640, 1), (0o600, 0)] {
        set_mode(&secret, mode);
        for command in [&["config", "check"][..], &["process", sandbox.root().to_str().unwrap()], &["doctor"]] {
            assert_eq!(times(sandbox.run(command)), expected, "{command:?} {mode:o}");
        }
        assert_eq!(times(sandbox.run(&["vod", "list"])), 0, "nothing is sent");
    }
}
