//! Credentials: where they may come from, and that the real program shows them nowhere.

use std::collections::BTreeMap;
use std::fs;

use aftercast::deliver::TargetOptions;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::stores::{SECRET_KEY, moto, s3};
use crate::support::{RunOutput, Sandbox, config_with_targets};

#[test]
fn a_web_identity_is_exchanged_for_the_keys_of_a_session() {
    let moto = moto();
    let (service, token, secrets) = moto.token_service();
    let target = TargetOptions { credential_files: BTreeMap::new(), ..moto.without("nothing") };
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    let (root, token_file) = (sandbox.root(), sandbox.path().join("token"));
    let run = |args: &[&str]| -> RunOutput {
        let mut command = sandbox.command(args);
        command.env("AWS_WEB_IDENTITY_TOKEN_FILE", &token_file).env("AWS_ENDPOINT_URL_STS", &service);
        command.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/recorder").env("SSL_CERT_FILE", moto.authority());
        command.output().unwrap().into()
    };
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let process = ["-vv", "process", root.to_str().unwrap()];
    let verified_with = |token: &str, code| {
        fs::write(&token_file, token).unwrap();
        run(&["queue", "retry"]).expect_code(0);
        let runs = [run(&process).expect_code(code), run(&["-vv", "doctor"]), run(&["--json", "queue", "list"])];
        for said in &runs {
            for secret in secrets.iter().chain([&token]) {
                assert!(
                    !said.err.contains(*secret) && !said.out.contains(*secret),
                    "{secret}: {}{}",
                    said.out,
                    said.err
                );
            }
        }
        runs
    };
    let missing = run(&process).expect_code(5);
    assert!(missing.err.contains("no credentials could be obtained"), "{}", missing.err);
    let refused = verified_with("a-token-that-nobody-knows", 5);
    assert!(refused[0].err.contains("the identity is not accepted"), "{}", refused[0].err);
    assert!(refused[1].out.contains("the identity is not accepted"), "{}", refused[1].out);
    verified_with(token, 0);
    let vods = run(&["--json", "vod", "list"]).expect_code(0).json_lines();
    assert_eq!(vods[0]["remote"][0]["key"], "pre/room1.mp4");
}

/// A configuration whose last target has its secret from the environment.
fn last_secret_from_environment(config: &str) -> String {
    let (first, last) = config.rsplit_once("secret_access_key_file = \"").unwrap();
    let (_, behind) = last.split_once('"').unwrap();
    format!("{first}secret_access_key_file = \"env:STUDIO_SECRET\"{behind}")
}

#[test]
fn what_asks_nothing_of_a_store_works_without_credentials_and_everything_else_says_what_is_missing() {
    let server = s3();
    let target = server.bucket("lookers");
    let sandbox =
        Sandbox::with_config(|dir| last_secret_from_environment(&config_with_targets(dir, &[&target], "[retain]")));
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let root = sandbox.root();
    let process = ["process", root.to_str().unwrap()];
    let with_secret = |args: &[&str]| -> RunOutput {
        sandbox.command(args).env("STUDIO_SECRET", "Wrong+Secret").output().unwrap().into()
    };
    with_secret(&process).expect_code(5);

    let vod = sandbox.vods()[0]["vodId"].as_str().unwrap().to_owned();
    let queue = sandbox.run(&["queue", "list"]).expect_code(0).out;
    assert!(queue.contains("@cloud") && queue.contains("the secret is wrong"), "{queue}");
    let plan = sandbox.run(&["retain", "--dry-run"]).expect_code(0).out;
    assert!(plan.contains("keep"), "{plan}");
    for looks in [
        &["vod", "show", &vod] as &[&str],
        &["vod", "export"],
        &["queue", "retry"],
        &["catalog", "check"],
        &["catalog", "rebuild", "--no-stores"],
        &["config", "print"],
    ] {
        sandbox.run(looks).expect_code(0);
    }
    for asks in [
        &process[..],
        &["process", "--dry-run", process[1]],
        &["watch"],
        &["recover", process[1]],
        &["catalog", "rebuild"],
        &["vod", "verify"],
        &["vod", "delete", &vod],
        &["queue", "gc"],
        &["retain"],
        &["doctor"],
        &["config", "check"],
    ] {
        let refused = sandbox.run(asks);
        let said = format!("{}{}", refused.out, refused.err);
        assert_ne!(refused.code(), 0, "{asks:?}: {said}");
        assert!(said.contains("STUDIO_SECRET, which is not set"), "{asks:?}: {said}");
    }
}

#[test]
fn what_asks_a_store_is_left_to_the_daemon_that_has_the_credentials() {
    let server = s3();
    let target = server.bucket("asked-by-the-daemon");
    let sandbox = Sandbox::with_config(|dir| last_secret_from_environment(&config_with_targets(dir, &[&target], "")));
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let daemon = Daemon::start_with(&sandbox, |command| {
        command.env("STUDIO_SECRET", SECRET_KEY);
    });
    daemon.until_said("INFO delivered ");
    let verified = sandbox.run(&["vod", "verify"]).expect_code(0).out;
    assert!(verified.contains("as proven"), "{verified}");
    sandbox.run(&["queue", "gc"]).expect_code(0);
    daemon.stop();
    sandbox.run(&["vod", "verify"]).expect_code(5);
}

#[test]
fn no_secret_is_shown_by_a_command_the_log_the_record_or_the_list_of_processes() {
    const SECRET: &str = "Wrong+Secret/That-Nobody=May~See";
    let server = s3();
    server.bucket("secrets");
    let wrong = server.target("secrets", "test-key", SECRET);
    let by_environment = TargetOptions { name: "second".into(), ..wrong.clone() };
    let sandbox = Sandbox::with_config(|dir| {
        last_secret_from_environment(&config_with_targets(dir, &[&wrong, &by_environment], ""))
    });
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let mut said = Vec::new();
    let daemon = Daemon::start_with(&sandbox, |command| {
        command.env("STUDIO_SECRET", SECRET).env("AFTERCAST_LOG", "trace");
    });
    let run =
        |args: &[&str]| -> RunOutput { sandbox.command(args).env("STUDIO_SECRET", SECRET).output().unwrap().into() };
    for target in ["cloud", "second"] {
        until("both were refused", || {
            let log = daemon.log();
            log.lines().any(|line| line.contains("the secret is wrong") && line.contains(target)).then_some(())
        });
    }
    said.push(fs::read_to_string(format!("/proc/{}/cmdline", daemon.id())).unwrap());
    for args in [
        &["config", "print"][..],
        &["config", "check"],
        &["--json", "queue", "list"],
        &["queue", "list"],
        &["doctor"],
        &["--json", "vod", "list"],
        &["vod", "verify"],
        &["retain", "--dry-run"],
    ] {
        let run = run(args);
        said.extend([run.out, run.err]);
    }
    assert!(said.iter().any(|text| text.contains("the secret is wrong")), "{said:?}");
    said.push(daemon.log());
    daemon.stop();
    said.push(sandbox.run(&["--json", "vod", "export"]).out);
    // Its parts, too: a cut or an escape must not hide that it is there.
    for shown in [SECRET, "Wrong+Secret", "Wrong%2BSecret", "That-Nobody", "May~See"] {
        let found: Vec<_> = said.iter().filter(|text| text.contains(shown)).collect();
        assert!(found.is_empty(), "{shown}: {found:?}");
    }
}
