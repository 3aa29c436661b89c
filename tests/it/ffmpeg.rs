//! FFmpeg's libraries: loaded where they are needed, and missed with words.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{RunOutput, Sandbox, tree};

/// What the loader says it loaded (`LD_DEBUG=files`, ld.so(8)) while a command ran.
fn loading(sandbox: &Sandbox, args: &[&str]) -> RunOutput {
    let output = sandbox.command(args).env("LD_DEBUG", "files").output().unwrap();
    RunOutput::from(output)
}

#[test]
fn commands_that_need_no_ffmpeg_load_none() {
    let sandbox = Sandbox::new();
    let recording = sandbox.put(&made("mp4", 2), "room1.mp4");
    let recording = recording.to_str().unwrap();
    for args in [&["--version"] as &[&str], &["inspect", recording], &["process", recording], &["vod", "list"]] {
        let run = loading(&sandbox, args).expect_code(0);
        assert!(run.err.contains("libc.so.6"), "the loader speaks: {}", run.err);
        assert!(!run.err.contains("libavcodec.so") && !run.err.contains("libavutil.so"), "{args:?} {}", run.err);
    }
    assert_eq!(sandbox.vods()[0]["outcome"], "spliced");
    let tags = sandbox.put(&made("flv", 2), "room3.flv");
    let run = loading(&sandbox, &["process", tags.to_str().unwrap()]).expect_code(0);
    assert!(!run.err.contains("libavcodec.so"), "{}", run.err);
    assert!(sandbox.vods().iter().all(|vod| vod["outcome"] == "spliced"), "{:?}", sandbox.vods());
    sandbox.put(&made("ts", 2), "room2.ts");
    let run = loading(&sandbox, &["process", sandbox.root().to_str().unwrap()]).expect_code(0);
    assert!(run.err.contains("libavcodec.so"), "{}", run.err);
    assert!(sandbox.vods().iter().any(|vod| vod["outcome"] == "remuxed"));
}

#[test]
fn a_library_that_is_not_there_is_an_error_of_what_needs_it_and_of_nothing_else() {
    let sandbox = Sandbox::new();
    let broken = sandbox.path().join("lib");
    fs::create_dir(&broken).unwrap();
    for (major, name) in [57, 58, 59, 60, 61, 62].iter().flat_map(|m| [(m, "avformat"), (m, "avcodec")]) {
        fs::write(broken.join(format!("lib{name}.so.{major}")), "not a library").unwrap();
    }
    let run = |args: &[&str]| RunOutput::from(sandbox.command(args).env("LD_LIBRARY_PATH", &broken).output().unwrap());
    sandbox.put(&made("ts", 2), "room1.ts");
    sandbox.put(&made("mp4-faststart", 2), "room2.mp4");
    let before = tree(&sandbox.root());

    let said = run(&["process", sandbox.root().to_str().unwrap()]).expect_code(5);
    let named = said.out.contains("libavformat.so") || said.out.contains("libavcodec.so");
    assert!(named && said.out.contains("No recording was touched"), "{said:?}");
    assert_eq!(tree(&sandbox.root()), before);
    assert_eq!(sandbox.vods().len(), 1, "the other needs none");
    let said = run(&["doctor"]);
    assert!(said.out.contains("FFmpeg cannot be loaded"), "{said:?}");

    sandbox.process().expect_code(0);
    assert_eq!(sandbox.vods().len(), 2, "nothing was held against it");
}

/// The program in a directory of its own, as an archive is unpacked: `PREFIX/bin/aftercast` and `PREFIX/lib/aftercast`.
fn unpacked(prefix: &Path) -> (PathBuf, PathBuf) {
    let (program, lib) = (prefix.join("bin/aftercast"), prefix.join("lib/aftercast"));
    for directory in [program.parent().unwrap(), prefix.join("lib").as_path(), &lib] {
        fs::create_dir_all(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let built = env!("CARGO_BIN_EXE_aftercast");
    fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
    (program, lib)
}

/// Name, major and minor version of each library that the program was built for, as `doctor` shows them.
fn versions(sandbox: &Sandbox) -> Vec<(String, u32, u32)> {
    let checks = sandbox.run(&["--json", "doctor"]).json_lines();
    let check = checks.iter().find(|check| check["subject"] == "FFmpeg").unwrap();
    let library = |text: &str| {
        let (name, version) = text.trim().split_once(' ').unwrap();
        let mut numbers = version.split('.').map(|n| n.parse().unwrap());
        (name.to_owned(), numbers.next().unwrap(), numbers.next().unwrap())
    };
    check["detail"].as_str().unwrap().split(',').map(library).collect()
}

/// Where the loader finds the library of the system.
fn system_library(soname: &str) -> PathBuf {
    let listed = Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed.lines().find(|line| line.trim_start().starts_with(&format!("{soname} ")));
    line.and_then(|line| line.split("=> ").nth(1)).unwrap_or_else(|| panic!("{soname} is not installed")).into()
}

#[test]
fn libraries_beside_the_program_are_loaded_unless_others_can_change_them() {
    let sandbox = Sandbox::new();
    let (program, lib) = unpacked(&sandbox.path().join("prefix"));
    for (name, major, _) in versions(&sandbox) {
        let soname = format!("{name}.so.{major}");
        fs::copy(system_library(&soname), lib.join(&soname)).unwrap();
        fs::set_permissions(lib.join(&soname), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let doctor = || {
        let mut command = Command::new(&program);
        command.arg("--config").arg(sandbox.path().join("config.toml")).arg("doctor").env("LD_DEBUG", "files");
        RunOutput::from(command.output().unwrap())
    };
    let run = doctor();
    let loaded = lib.join("libavformat.so").display().to_string();
    assert!(run.err.contains(&loaded) && run.out.contains("libavformat "), "{} {}", run.out, run.err);

    fs::set_permissions(&lib, fs::Permissions::from_mode(0o777)).unwrap();
    let run = doctor().expect_code(5);
    assert!(run.out.contains("mode 0777: other users can change it"), "{}", run.out);
    assert!(!run.err.contains("libavformat.so"), "neither those nor the system's are loaded instead: {}", run.err);
}

#[test]
fn a_library_of_another_version_is_refused_and_both_versions_are_named() {
    let sandbox = Sandbox::new();
    let (_, major, minor) = versions(&sandbox).into_iter().find(|(name, ..)| name == "libavutil").unwrap();
    let fake = sandbox.path().join("fake");
    fs::create_dir(&fake).unwrap();
    let (source, soname) = (fake.join("fake.c"), format!("libavutil.so.{major}"));
    fs::write(&source, format!("unsigned avutil_version(void) {{ return {} << 16; }}\n", major + 1)).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(fake.join(&soname)).arg(&source).status();
    assert!(built.unwrap().success());
    let run =
        RunOutput::from(sandbox.command(&["doctor"]).env("LD_LIBRARY_PATH", &fake).output().unwrap()).expect_code(5);
    let built_for = format!("this program was built for libavutil {major}.{minor}");
    let found = format!("{soname} is version {}.0", major + 1);
    assert!(run.out.contains(&built_for) && run.out.contains(&found), "{}", run.out);
}

#[test]
fn a_daemon_says_at_its_start_that_ffmpeg_cannot_be_used_and_works_without_it() {
    let sandbox = Sandbox::new();
    let (program, lib) = unpacked(&sandbox.path().join("prefix"));
    for (name, major, _) in versions(&sandbox) {
        fs::write(lib.join(format!("{name}.so.{major}")), "not a library").unwrap();
    }
    fs::set_permissions(&lib, fs::Permissions::from_mode(0o777)).unwrap();
    sandbox.put(&made("mp4", 2), "room1.mp4");
    let mut command = Command::new(&program);
    command.arg("--config").arg(sandbox.path().join("config.toml")).arg("watch");
    let daemon = Daemon::start_command(&sandbox, command, |_| {});
    let log = daemon.log();
    assert!(log.contains("FFmpeg is not usable; recordings that need it wait"), "{log}");
    assert!(log.contains("other users can change it"), "{log}");
    until("what needs no FFmpeg is finished", || (sandbox.vods().len() == 1).then_some(()));
    daemon.stop();
}
