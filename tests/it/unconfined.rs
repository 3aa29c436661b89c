//! Where the kernel lets no process restrict its system calls, as some containers have it, pictures are made all the same, and it is
//! said once.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use seccompiler::{SeccompAction, SeccompFilter, apply_filter};

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{Sandbox, standard_config};

/// Has the kernel refuse `seccomp(2)` to a program.
#[expect(unsafe_code, reason = "a filter of a child is set between its fork and its program")]
fn without_seccomp(command: &mut Command) {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let rules = [(libc::SYS_seccomp, Vec::new())].into_iter().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    // SAFETY: the closure makes two system calls and allocates nothing unless they fail.
    unsafe {
        command.pre_exec(move || apply_filter(&program).map_err(io::Error::other));
    }
}

#[test]
fn without_seccomp_pictures_are_made_and_it_is_said_once() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[pictures]\nposter = true"));
    let restricted = sandbox.run(&["--json", "doctor"]).json_lines();
    let limits = restricted.iter().find(|check| check["check"] == "decoder limits").unwrap();
    assert!(limits["ok"] == true && limits["hint"].is_null(), "{limits}");

    let mut doctor = sandbox.command(&["doctor"]);
    without_seccomp(&mut doctor);
    let said = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    assert!(said.contains("system calls are not restricted") && said.contains("Allow seccomp(2)"), "{said}");

    let daemon = Daemon::start_with(&sandbox, without_seccomp);
    for name in ["room1.mp4", "room2.mp4"] {
        sandbox.put(&made("mp4", 2), name);
        until("it has a poster", || {
            let vod = sandbox.vods().into_iter().find(|vod| vod["vodName"] == name)?;
            vod["pictures"]["poster"].is_object().then_some(())
        });
    }
    let log = daemon.log();
    let said = log.lines().filter(|line| line.contains("cannot restrict the system calls of the decoder"));
    assert_eq!(said.count(), 1, "{log}");
    daemon.stop();
}
