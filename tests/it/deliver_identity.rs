//! Identities without keys: of a workload at Azure, of a service or a person at Google.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::daemon::{Daemon, until};
use crate::support::google::google;
use crate::support::http::{Request, Response};
use crate::support::identity::{ASSERTION, BEARER, CLIENT, TENANT, authority, form, guarded};
use crate::support::recordings::padded;
use crate::support::stores::{azure, from_base64, moto};
use crate::support::unruly::refusing;
use crate::support::{RunOutput, Sandbox, config_with_targets, tree};

const NAMES: [&str; 2] = ["small.mp4", "large.mp4"];

/// Puts one recording there that goes up in one request, and one that goes up in parts.
fn record(sandbox: &Sandbox) {
    for (name, at_least) in NAMES.into_iter().zip([0, 20 << 20]) {
        fs::write(sandbox.root().join(name), padded(name, at_least)).unwrap();
    }
}

/// What the commands that speak of a target say.
fn said(run: impl Fn(&[&str]) -> RunOutput) -> String {
    let commands: [&[&str]; 7] = [
        &["-vv", "doctor"],
        &["queue", "list"],
        &["--json", "queue", "list"],
        &["--json", "vod", "list"],
        &["config", "print"],
        &["config", "check"],
        &["retain", "--dry-run"],
    ];
    let runs = commands.map(run);
    runs.into_iter().map(|run| run.out + &run.err).collect()
}

#[track_caller]
fn no_secret_in(said: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[track_caller]
fn shows_the_workload(form: &[(String, String)]) {
    for (name, value) in [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", ASSERTION),
        ("client_id", CLIENT),
        ("grant_type", "client_credentials"),
        ("scope", "https://storage.azure.com/.default"),
    ] {
        assert!(form.iter().any(|(n, v)| n == name && v == value), "{name}: {form:?}");
    }
}

#[test]
fn the_identity_of_a_workload_is_exchanged_for_a_bearer_token_and_one_that_is_refused_stops_its_target() {
    let server = azure();
    let (authority, exchanges) = authority();
    let (target, requests) = guarded(&server, "workload");
    let sandbox =
        Sandbox::with_config(|dir| config_with_targets(dir, &[&target], "[retain]\ndelete_local = \"delivered\""));
    let token_file = sandbox.path().join("token");
    let set = |command: &mut Command, client: &str| {
        command.env("AZURE_FEDERATED_TOKEN_FILE", &token_file).env("AZURE_CLIENT_ID", client);
        // With the slash at its end that a cluster gives it.
        command.env("AZURE_TENANT_ID", TENANT).env("AZURE_AUTHORITY_HOST", format!("http://{authority}/"));
    };
    let run_as = |client: &str, args: &[&str]| -> RunOutput {
        let mut command = sandbox.command(args);
        set(&mut command, client);
        command.output().unwrap().into()
    };
    record(&sandbox);
    let root = sandbox.root();
    let missing = run_as(CLIENT, &["process", root.to_str().unwrap()]).expect_code(5);
    assert!(missing.err.contains("no credentials could be obtained"), "{}", missing.err);
    fs::write(&token_file, ASSERTION).unwrap();
    run_as(CLIENT, &["queue", "retry"]).expect_code(0);
    let unknown = run_as("somebody", &["-vv", "process", root.to_str().unwrap()]).expect_code(5);
    assert!(unknown.err.contains("the identity is not accepted"), "{}", unknown.err);
    assert!(unknown.err.contains("AADSTS700016"), "{}", unknown.err);

    fs::write(&token_file, "a-token-that-nobody-knows").unwrap();
    let daemon = Daemon::start_with(&sandbox, |command| {
        set(command, CLIENT);
        command.env("AFTERCAST_LOG", "trace");
    });
    daemon.until_said("target cannot be used; deliveries stay queued");
    let queue = until("both wait for it", || {
        let queue = sandbox.run(&["queue", "list"]).expect_code(0).out;
        (queue.matches("the identity is not accepted").count() == NAMES.len()).then_some(queue)
    });
    assert!(queue.contains("invalid_client: AADSTS700213: No matching federated identity record found"), "{queue}");
    assert!(!queue.contains("Trace ID"), "{queue}");
    assert_eq!(daemon.log().matches("cannot be used; deliveries stay queued").count(), 1, "{}", daemon.log());
    assert_eq!(tree(&root).len(), NAMES.len(), "nothing is freed");
    assert!(requests.lock().unwrap().is_empty(), "nobody came without a token");

    fs::write(&token_file, ASSERTION).unwrap();
    daemon.signal("HUP");
    until("all is delivered and freed", || tree(&root).is_empty().then_some(()));
    let log = daemon.log();
    daemon.stop();
    let proven = run_as(CLIENT, &["-vv", "vod", "verify", "--download"]).expect_code(0);
    assert_eq!(proven.out.matches("as proven").count(), NAMES.len(), "{}", proven.out);

    let spoken = said(|args| run_as(CLIENT, args));
    let requests = requests.lock().unwrap();
    assert!(requests.iter().any(|r| r.method == "PUT" && r.query("comp") == Some("blocklist")));
    assert!(requests.iter().all(|r| r.header("authorization") == Some(&format!("Bearer {BEARER}"))));
    shows_the_workload(&exchanges.lock().unwrap().iter().map(form).next_back().unwrap());
    for said in [missing.err, unknown.err, log, proven.err, spoken, queue] {
        no_secret_in(&said, &[ASSERTION, "a-token-that-nobody-knows", BEARER]);
    }
}

/// A fake of Google in front of which all bearer tokens are noted.
fn noting(bucket: &str) -> (aftercast::deliver::TargetOptions, Arc<Mutex<Vec<String>>>) {
    let google = google();
    let bearers: Arc<Mutex<Vec<String>>> = Arc::default();
    let keeps = Arc::clone(&bearers);
    let address = refusing(google.address, move |request: &Request| {
        let bearer = request.header("authorization").and_then(|a| a.strip_prefix("Bearer "));
        let Some(bearer) = bearer.filter(|bearer| !bearer.is_empty()) else {
            return Some(Response::error(401, "AuthenticationRequired"));
        };
        keeps.lock().unwrap().push(bearer.to_owned());
        None
    });
    let mut target = google.without_credentials(bucket);
    target.endpoint = Some(format!("http://{address}"));
    (target, bearers)
}

/// Runs with one file of credentials and nothing else that Google knows.
fn run_with(sandbox: &Sandbox, credentials: &Path, more: &[(&str, &str)], args: &[&str]) -> RunOutput {
    let mut command = sandbox.command(args);
    command.env("GOOGLE_APPLICATION_CREDENTIALS", credentials).env("HOME", sandbox.path()).envs(more.iter().copied());
    command.output().unwrap().into()
}

fn openssl(args: &[&str]) -> String {
    let run = Command::new("openssl").args(args).output().unwrap();
    assert!(run.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).into_owned()
}

#[test]
fn a_service_account_signs_its_own_token() {
    let (target, bearers) = noting("service");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    let file = |name: &str| sandbox.path().join(name);
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (private, public) = (text(&file("private.pem")), text(&file("public.pem")));
    openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    let key = fs::read_to_string(&private).unwrap();
    let account = serde_json::json!({
        "type": "service_account", "private_key": key, "private_key_id": "key-1",
        "client_email": "recorder@studio.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token",
    });
    let credentials = file("account.json");
    fs::write(&credentials, account.to_string()).unwrap();
    let run = |args: &[&str]| run_with(&sandbox, &credentials, &[], args);
    record(&sandbox);
    let process = run(&["-vv", "process", sandbox.root().to_str().unwrap()]).expect_code(0);
    let proven = run(&["-vv", "vod", "verify", "--download"]).expect_code(0);
    assert_eq!(proven.out.matches("as proven").count(), NAMES.len(), "{}", proven.out);
    run(&["queue", "gc"]).expect_code(0);

    let mut bearers = bearers.lock().unwrap().clone();
    bearers.sort();
    bearers.dedup();
    let decoded = |text: &str| from_base64(&text.replace('-', "+").replace('_', "/"));
    for bearer in &bearers {
        let (signed, signature) = bearer.rsplit_once('.').unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let json = |part: &str| serde_json::from_slice::<serde_json::Value>(&decoded(part)).unwrap();
        assert_eq!((&json(head)["alg"], &json(head)["kid"]), (&"RS256".into(), &"key-1".into()));
        assert_eq!(json(claims)["iss"], "recorder@studio.iam.gserviceaccount.com");
        fs::write(file("signed"), signed).unwrap();
        fs::write(file("signature"), decoded(signature)).unwrap();
        let (signed, signature) = (text(&file("signed")), text(&file("signature")));
        let checked = openssl(&["dgst", "-sha256", "-verify", &public, "-signature", &signature, &signed]);
        assert!(checked.contains("Verified OK"), "{checked}");
    }
    let line_of_key = key.lines().nth(3).unwrap();
    let shown = said(run) + &process.err + &process.out + &proven.err;
    let signatures = bearers.iter().map(|bearer| bearer.rsplit('.').next().unwrap());
    no_secret_in(&shown, &signatures.chain([line_of_key]).collect::<Vec<_>>());
}

#[test]
fn the_login_of_a_person_is_exchanged_for_a_token_and_one_that_was_revoked_is_not_accepted() {
    let moto = moto();
    let (proxy, secrets) = moto.accounts();
    let (target, bearers) = noting("person");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    let login = |refresh_token: &str| {
        serde_json::json!({
            "type": "authorized_user", "client_id": "studio.apps.googleusercontent.com", "client_secret": secrets[0],
            "refresh_token": refresh_token,
        })
        .to_string()
    };
    let credentials = sandbox.path().join("login.json");
    let authority = moto.authority();
    let more =
        [("HTTPS_PROXY", proxy.as_str()), ("https_proxy", &proxy), ("SSL_CERT_FILE", authority.to_str().unwrap())];
    let run = |args: &[&str]| run_with(&sandbox, &credentials, &more, args);
    record(&sandbox);
    let root = sandbox.root();
    let process = ["-vv", "process", root.to_str().unwrap()];
    fs::write(&credentials, login("1//revoked")).unwrap();
    let revoked = run(&process).expect_code(5);
    assert!(revoked.err.contains("the identity is not accepted"), "{}", revoked.err);
    assert!(revoked.err.contains("invalid_grant: Token has been expired or revoked"), "{}", revoked.err);
    assert!(bearers.lock().unwrap().is_empty());
    let shown = said(run);
    assert!(shown.contains("log in again"), "{shown}");

    fs::write(&credentials, login(secrets[1])).unwrap();
    run(&["queue", "retry"]).expect_code(0);
    let process = run(&process).expect_code(0);
    let proven = run(&["-vv", "vod", "verify"]).expect_code(0);
    assert_eq!(proven.out.matches("as proven").count(), NAMES.len(), "{}", proven.out);
    assert!(bearers.lock().unwrap().iter().all(|bearer| bearer == secrets[2]));
    let shown = shown + &said(run) + &revoked.err + &process.err + &process.out + &proven.err;
    no_secret_in(&shown, &[&secrets[..], &["1//revoked"]].concat());
}

#[test]
fn without_googles_credentials_it_is_said_how_to_give_them_and_a_broken_file_is_named_and_not_shown() {
    let (target, bearers) = noting("nobody");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    record(&sandbox);
    let root = sandbox.root();
    let process = ["-vv", "process", root.to_str().unwrap()];
    let nobody =
        |args: &[&str]| -> RunOutput { sandbox.command(args).env("HOME", sandbox.path()).output().unwrap().into() };
    let none = nobody(&process).expect_code(5);
    assert!(none.err.contains("target `cloud`: no credentials are configured"), "{}", none.err);
    assert!(none.err.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{}", none.err);
    assert!(nobody(&["doctor"]).out.contains("no credentials are configured"));

    let path = sandbox.path().join("account.json");
    let gone = run_with(&sandbox, &path, &[], &process).expect_code(5);
    assert!(gone.err.contains("account.json"), "{}", gone.err);
    for content in [
        "\"hush\"",
        "hush",
        r#"{"type":"hush"}"#,
        r#"{"type":"service_account","private_key":"hush","private_key_id":"1","client_email":"x"}"#,
        r#"{"type":"service_account","private_key":["hush"],"private_key_id":"hush","client_email":"x"}"#,
        r#"{"type":"service_account","private_key":"x","private_key_id":"1","client_email":"x","disable_oauth":"hush"}"#,
        r#"{"type":"authorized_user","client_id":"hush","client_secret":"hush","refresh_token":7}"#,
    ] {
        fs::write(&path, content).unwrap();
        for args in [&process[..], &["doctor"], &["config", "check"]] {
            let run = run_with(&sandbox, &path, &[], args);
            let said = run.err.clone() + &run.out;
            assert_ne!(run.code(), 0, "{content}: {said}");
            assert!(said.contains("account.json"), "{content}: {said}");
            no_secret_in(&said, &["hush"]);
        }
    }
    assert!(bearers.lock().unwrap().is_empty());
    assert_eq!(tree(&root).len(), NAMES.len());
}
