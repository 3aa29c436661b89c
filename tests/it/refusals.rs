//! Every refusal of a store, provoked on a real server or behind a proxy that answers as the clouds document it; what is
//! said of each is kept in `refusals.txt`. `UPDATE_EXPECTED=1` writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aftercast::deliver::{DeliverError, TargetOptions};
use aftercast::fault::{Class, Fault};

use crate::support::assets::{MIB, asset, targets, upload, write_noise};
use crate::support::http::{Request, Response, read_request, reply, serve};
use crate::support::stores::{ACCESS_KEY, READER_KEY, READER_SECRET, SECRET_KEY, azure, free_port, moto, s3};
use crate::support::unruly::refusing;
use crate::support::{Sandbox, config_with_targets};

/// What was said, by what was provoked.
#[derive(Default)]
struct ProvokedMessages(BTreeMap<String, String>);

impl ProvokedMessages {
    fn error(&mut self, provoked: &str, error: &DeliverError) {
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("safe on the local disk"), "{provoked}: {hint}");
        self.add(provoked, &error.to_string(), error.class(), &hint);
    }

    fn add(&mut self, provoked: &str, words: &str, class: Class, hint: &str) {
        let text = format!("{words}\n    {class:?}. {hint}");
        assert!(self.0.insert(provoked.to_owned(), text).is_none(), "{provoked} twice");
    }

    /// Compares with the part of the file that is about these provocations.
    #[track_caller]
    fn compare(&self, part: &str) {
        static WRITING: Mutex<()> = Mutex::new(());
        let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/refusals/{part}.txt"));
        let mut text = String::new();
        for (provoked, said) in &self.0 {
            let _ = writeln!(text, "{provoked}\n    {said}\n");
        }
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, expected, "UPDATE_EXPECTED=1 writes it");
    }
}

/// What an upload of so many bytes fails with.
fn failure(options: TargetOptions, len: usize) -> DeliverError {
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", len, 1);
    upload(&targets(options), &asset(dir.path(), "id", &["x.mp4"])).unwrap_err()
}

fn at(options: &TargetOptions, address: SocketAddr) -> TargetOptions {
    let account = if options.url.starts_with("az:") { "/devstoreaccount1" } else { "" };
    TargetOptions { endpoint: Some(format!("http://{address}{account}")), ..options.clone() }
}

#[test]
fn a_real_server_refuses() {
    let server = s3();
    let good = server.bucket("refusals");
    let mut said = ProvokedMessages::default();
    said.error("unknown key id", &failure(server.target("refusals", "nobody", SECRET_KEY), 1000));
    said.error("wrong secret", &failure(server.target("refusals", ACCESS_KEY, "wrong"), 1000));
    said.error("no such bucket", &failure(server.target("nowhere", ACCESS_KEY, SECRET_KEY), 1000));
    let reader = || server.target("refusals", READER_KEY, READER_SECRET);
    said.error("may not write", &failure(reader(), 1000));
    // The refusal comes while the body is still on its way, and is heard all the same.
    said.error("may not write, 15 MiB in one request", &failure(reader(), 15 * MIB));
    said.error("may not write, in parts", &failure(reader(), 17 * MIB));
    let gone = TargetOptions { endpoint: Some(format!("http://127.0.0.1:{}", free_port())), ..good.clone() };
    let refused = failure(gone, 1000);
    said.error("nothing listens", &refused);
    let nowhere = TargetOptions { endpoint: Some("http://store.invalid:9000".into()), ..good.clone() };
    said.error("no such host", &failure(nowhere, 1000));
    let https = TargetOptions { endpoint: Some(format!("https://{}", server.address())), ..good };
    said.error("https to a server of http", &failure(https, 1000));
    let server = azure();
    said.error("no such container", &failure(server.target("nowhere"), 1000));
    let mut azures = server.container("refusals");
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), crate::support::stores::base64(b"another key")).unwrap();
    azures.credential_files.insert("account_key".into(), wrong.path().to_owned());
    said.error("wrong key of an Azure account", &failure(azures, 1000));
    said.compare("servers");
}

#[test]
fn each_permission_that_is_missing_is_named() {
    let server = moto();
    let mut said = ProvokedMessages::default();
    let all = targets(server.without("nothing")).probe("cloud").unwrap();
    assert!(all.iter().all(|check| check.ok), "{all:?}");
    let actions =
        ["PutObject", "GetObject", "DeleteObject", "AbortMultipartUpload", "ListBucket", "ListBucketMultipartUploads"];
    for action in actions {
        let target = targets(server.without(action));
        let checks = target.probe("cloud").unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
        assert!(!failed.is_empty(), "{action}: {checks:?}");
        assert!(failed.iter().all(|c| c.hint.as_ref().unwrap().contains(&format!("s3:{action} "))), "{failed:?}");
        let words = failed.iter().map(|c| format!("{}: {}", c.name, first_words(&c.detail))).collect::<Vec<_>>();
        let hint = failed[0].hint.clone().unwrap();
        said.add(&format!("doctor without s3:{action}"), &words.join("\n    "), Class::Environment, &hint);
        if action == "DeleteObject" {
            // What could not be cleared away is found again and does no harm.
            assert!(target.probe("cloud").unwrap().iter().any(|c| c.name == "no overwriting" && c.ok));
        }
    }
    said.error("upload without s3:GetObject", &failure(server.without("GetObject"), 1000));
    said.compare("permissions");
}

/// Up to the store's own answer, and without the name of the probe, which is another each time.
fn first_words(detail: &str) -> String {
    let words = detail.split(": the store answered").next().unwrap_or(detail);
    match words.split_once(".aftercast-probe-") {
        Some((before, after)) => format!("{before}PROBE{}", after.trim_start_matches(|c: char| c.is_ascii_hexdigit())),
        None => words.to_owned(),
    }
}

fn aws(status: u16, code: &str, message: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Response::new(status).with("content-type", "application/xml").saying(body)
}

/// Refusals as the clouds document them: what is provoked, the method it meets (HEAD too where empty), the answer.
fn documented() -> Vec<(&'static str, &'static str, Response)> {
    let denied = |message: &str| aws(403, "AccessDenied", message);
    let moved = aws(301, "PermanentRedirect", "The bucket must be addressed using the specified endpoint.");
    vec![
        ("expired token", "", aws(400, "ExpiredToken", "The provided token has expired.")),
        ("wrong region: moved", "", moved.with("x-amz-bucket-region", "eu-central-1")),
        (
            "wrong region: signed for another",
            "",
            Response::new(400).saying(
                "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region \
                 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>",
            ),
        ),
        (
            "clock off",
            "",
            aws(403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
                .with("date", "Mon, 02 Jan 2006 15:04:05 GMT"),
        ),
        (
            "permission named by the store",
            "PUT",
            denied("User: arn:aws:iam::1:user/x is not authorized to perform: s3:PutObjectTagging on resource: \"arn:aws:s3:::b/k\""),
        ),
        ("key management", "PUT", denied("User is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:x")),
        ("ACLs disabled", "PUT", aws(400, "AccessControlListNotSupported", "The bucket does not allow ACLs")),
        ("quota", "PUT", aws(403, "QuotaExceeded", "The quota is exceeded")),
        ("store full", "PUT", aws(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")),
        ("throttling", "PUT", aws(503, "SlowDown", "Please reduce your request rate.").with("retry-after", "1")),
        ("store in trouble", "PUT", aws(500, "InternalError", "We encountered an internal error. Please try again.")),
        ("object locked", "PUT", denied("Access Denied because object protected by object lock.")),
        ("digest differs", "PUT", aws(400, "BadDigest", "The CRC64NVME you specified did not match what we received.")),
        ("storage class unknown", "PUT", aws(501, "NotImplemented", "A header you provided implies functionality that is not implemented")),
        ("a login page", "", Response::new(200).with("content-type", "text/html").saying("<html>Please log in</html>")),
    ]
}

#[test]
fn what_the_clouds_document_is_understood() {
    let server = s3();
    let honest = server.bucket("documented");
    let mut said = ProvokedMessages::default();
    for (provoked, method, answer) in documented() {
        let meets = move |request: &Request| (method.is_empty() || request.method == method).then(|| answer.clone());
        said.error(provoked, &without_a_number(failure(at(&honest, refusing(server.address(), meets)), 1000)));
    }
    let ended = |request: &Request| {
        (request.method == "POST" && request.query("uploadId").is_some())
            .then(|| aws(200, "AccessDenied", "Access Denied"))
    };
    said.error("refused inside a 200", &failure(at(&honest, refusing(server.address(), ended)), 17 * MIB));
    let server = azure();
    let container = server.container("documented");
    let azures = [
        (
            "Azure: signature has run out",
            403,
            "AuthenticationFailed",
            "Signature not valid in the specified time frame",
        ),
        ("Azure: SAS without a right", 403, "AuthorizationPermissionMismatch", "not authorized using this permission"),
        ("Azure: immutable", 409, "BlobImmutableDueToPolicy", "not permitted as the blob is immutable due to a policy"),
        ("Azure: busy", 503, "ServerBusy", "The server is currently unable to receive requests."),
    ];
    for (provoked, status, code, message) in azures {
        let answer = aws(status, code, message).with("x-ms-error-code", code);
        let meets = move |request: &Request| (request.method == "PUT").then(|| answer.clone());
        said.error(provoked, &failure(at(&container, refusing(server.address(), meets)), 1000));
    }
    let google = crate::support::google::google();
    said.error("Google: bad token", &failure(google.bucket("locked"), 1000));
    said.error("Google: permission missing", &failure(google.bucket("denied"), 1000));
    said.compare("documented");
}

/// The clock of a proxy that answers with a fixed date is off by another number each time.
fn without_a_number(error: DeliverError) -> DeliverError {
    use aftercast::deliver::Cause;
    match error {
        DeliverError::Store {
            target,
            verb,
            key,
            provider,
            source,
            ask_again_after,
            cause: Cause::ClockSkew { by_s },
        } => {
            assert!(by_s.is_some_and(|s| s < -600_000_000), "{by_s:?}");
            DeliverError::Store {
                target,
                verb,
                key,
                provider,
                source,
                ask_again_after,
                cause: Cause::ClockSkew { by_s: Some(-1) },
            }
        }
        other => other,
    }
}

/// What `doctor` says of a target in a surrounding of its own: the first check that fails.
fn doctor(
    target: &TargetOptions,
    surround: impl FnOnce(&Sandbox, &mut Vec<String>) -> Vec<(String, String)>,
) -> (String, String) {
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[target], ""));
    let mut before = Vec::new();
    let environment = surround(&sandbox, &mut before);
    let mut command = sandbox.command(&["--json", "doctor"]);
    if let Some((program, arguments)) = before.split_first() {
        let inner = command;
        command = std::process::Command::new(program);
        command.args(arguments).arg(inner.get_program()).args(inner.get_args()).current_dir(sandbox.path());
    }
    command.envs(environment);
    let run = crate::support::RunOutput::from(command.output().unwrap());
    let lines = run.json_lines();
    let of_target = lines.iter().filter(|line| line["subject"] == "cloud");
    let failed = of_target.clone().find(|line| line["ok"] == false);
    let text = |line: &serde_json::Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    match failed {
        Some(line) => (text(line, "detail"), text(line, "hint")),
        None => (format!("{} checks are well", of_target.count()), String::new()),
    }
}

#[test]
fn certificates_and_proxies_are_told_apart() {
    let server = moto();
    let trusts = |server: &crate::support::stores::Moto| {
        vec![("SSL_CERT_FILE".to_owned(), server.authority().display().to_string())]
    };
    let well = doctor(&server.over_https("good"), |_, _| trusts(&server));
    assert_eq!(well.0, "11 checks are well");
    for (certificate, words) in [
        ("other name", "the certificate is for another host name"),
        ("expired", "the certificate has expired or is not valid yet"),
        ("unknown", "the certificate is not trusted"),
    ] {
        let (detail, hint) = doctor(&server.over_https(certificate), |_, _| trusts(&server));
        assert!(detail.contains(words), "{certificate}: {detail}");
        assert!(hint.contains("safe on the local disk"), "{certificate}: {hint}");
    }
    let untrusted = doctor(&server.over_https("good"), |_, _| Vec::new());
    assert!(
        untrusted.0.contains("the certificate is not trusted") && untrusted.1.contains("SSL_CERT_FILE"),
        "{untrusted:?}"
    );

    let refuses = serve(|client| {
        if read_request(&client, |_, length| length).is_some() {
            reply(&client, &Response::new(407).with("proxy-authenticate", "Basic").bytes(false));
        }
    });
    for (name, target) in [("HTTPS_PROXY", server.over_https("good")), ("HTTP_PROXY", server.without("nothing"))] {
        let proxy = (name.to_owned(), format!("http://{refuses}"));
        let (detail, hint) = doctor(&target, |_, _| [trusts(&server), vec![proxy]].concat());
        assert!(
            detail.contains("the proxy refused the request") && hint.contains("NO_PROXY"),
            "{name}: {detail} {hint}"
        );
    }
}

#[test]
fn a_clock_that_is_off_is_told_with_the_difference() {
    if std::process::Command::new("faketime").arg("--version").output().is_err() {
        println!("skipped: faketime is not installed");
        return;
    }
    let server = s3();
    let target = server.bucket("clock");
    let (detail, hint) = doctor(&target, |_, before| {
        before.extend(["faketime", "-f", "-20m"].map(str::to_owned));
        Vec::new()
    });
    assert!(
        detail.contains("this machine's clock is 1200 s off") || detail.contains("clock is 1199 s off"),
        "{detail} {hint}"
    );
    assert!(hint.contains("Set this machine's clock"), "{hint}");
}

#[test]
fn a_wrong_secret_pauses_its_target_once_while_everything_else_goes_on_and_sighup_resumes_it() {
    use crate::support::daemon::{Daemon, until};
    use crate::support::recordings::made;
    let server = s3();
    server.bucket("paused");
    let mut cloud = server.target("paused", ACCESS_KEY, "hush-wrong-secret");
    cloud.name = "cloud".into();
    let sandbox = Sandbox::with_config(|dir| {
        let disk = TargetOptions::new("disk", &format!("file://{}/store", dir.display()));
        config_with_targets(dir, &[&cloud, &disk], "")
    });
    for n in 0..6 {
        sandbox.put(&made("mp4-faststart", 2), &format!("room{n}.mp4"));
    }
    let daemon = Daemon::start(&sandbox);
    until("the other target has all", || (crate::support::tree(&sandbox.store()).len() == 6).then_some(()));
    until("the target waits", || daemon.log().contains("target cannot be used").then_some(()));
    let queue = sandbox.run(&["queue", "list"]).expect_code(0).out;
    assert_eq!(queue.lines().filter(|line| line.contains("@cloud") && line.contains("pending")).count(), 6, "{queue}");
    let why = "the secret is wrong: the store answered 403 SignatureDoesNotMatch";
    assert!(queue.contains(why) && queue.contains(". The recording is safe on the local disk."), "{queue}");
    sandbox.put(&made("flv", 2), "later.flv");
    until("finishing goes on", || sandbox.root().join("later.mp4").exists().then_some(()));
    assert!(server.listing("paused").is_empty());
    assert_eq!(daemon.log().matches("target cannot be used").count(), 1, "{}", daemon.log());

    std::fs::write(&cloud.credential_files["secret_access_key"], SECRET_KEY).unwrap();
    daemon.signal("HUP");
    until("all is delivered", || (server.listing("paused").len() == 7).then_some(()));
    daemon.until_said("target available again");
    let log = daemon.log();
    assert!(!log.contains("hush-wrong-secret") && !log.contains(SECRET_KEY), "{log}");
    daemon.stop();
}
