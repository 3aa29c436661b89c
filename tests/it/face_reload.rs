//! SIGHUP reads tokens and certificate again: what is open stays open, and what cannot be used changes nothing.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use super::face::{address_of, certificate, curl};
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{Sandbox, standard_config};

const FIRST: &str = "the first token of all";
const SECOND: &str = "the second token of all";

fn put(sandbox: &Sandbox, token: &str, cert: &str, key: &str) {
    let at = |name: &str| sandbox.path().join(name);
    fs::write(at("token"), format!("{token}\n")).unwrap();
    fs::copy(at(cert), at("tls.crt")).unwrap();
    fs::copy(at(key), at("tls.key")).unwrap();
}

/// What `POST /queue/retry` answers with a token, to a client that knows one certificate; 0 if the certificate is another.
fn answer(sandbox: &Sandbox, address: &str, cert: &str, token: &str) -> u16 {
    let (cert, url) = (sandbox.path().join(cert), format!("https://{address}/api/v1/queue/retry"));
    let header = format!("Authorization: Bearer {token}");
    curl(&["--cacert", cert.to_str().unwrap(), "-H", &header, "-X", "POST", "--data", "{}", &url]).0
}

fn config(dir: &Path) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    for name in ["one", "other"] {
        certificate(dir, name);
    }
    let files = format!(
        "operate_token_file = \"{}\"\ntls_cert = \"{}\"\ntls_key = \"{}\"\n",
        at("token"),
        at("tls.crt"),
        at("tls.key")
    );
    standard_config(dir, "") + "\n[serve]\nlisten = \"127.0.0.1:0\"\n" + &files
}

#[test]
fn tokens_and_certificate_are_read_again_and_open_connections_stay() {
    let sandbox = Sandbox::with_config(config);
    put(&sandbox, FIRST, "one.crt", "one.key");
    let daemon = Daemon::start(&sandbox);
    let address = address_of(&daemon);
    assert_eq!(answer(&sandbox, &address, "one.crt", FIRST), 200);
    assert_eq!(answer(&sandbox, &address, "other.crt", FIRST), 0);
    let (events, heard) = (sandbox.path().join("events"), format!("https://{address}/api/v1/events"));
    let mut follower = Command::new("curl")
        .args(["-sN", "--cacert", sandbox.path().join("one.crt").to_str().unwrap(), &heard])
        .stdout(File::create(&events).unwrap())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let has = |words: &str| fs::read_to_string(&events).unwrap().contains(words).then_some(());
    until("events are followed", || has("events follow"));

    put(&sandbox, SECOND, "other.crt", "other.key");
    daemon.signal("HUP");
    until("the second token is known", || (answer(&sandbox, &address, "other.crt", SECOND) == 200).then_some(()));
    assert_eq!(answer(&sandbox, &address, "other.crt", FIRST), 401, "the first one is not known any more");
    assert_eq!(answer(&sandbox, &address, "one.crt", SECOND), 0, "the first certificate is not sent any more");
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    until("who followed events still does", || has("vod.available"));
    assert!(follower.try_wait().unwrap().is_none());
    follower.kill().unwrap();
    follower.wait().unwrap();

    // Neither a token that is too short nor a key of another certificate, and not one of both without the other.
    for (number, (token, cert, key)) in
        [("short", "one.crt", "one.key"), (FIRST, "one.crt", "other.key")].into_iter().enumerate()
    {
        put(&sandbox, token, cert, key);
        daemon.signal("HUP");
        until("the refusal is said", || {
            let said = daemon.log().matches("tokens and certificate not reloaded").count();
            (said == number + 1).then_some(())
        });
        assert_eq!(answer(&sandbox, &address, "other.crt", SECOND), 200, "{token} {key}");
        assert_eq!(answer(&sandbox, &address, "other.crt", FIRST), 401, "{token} {key}");
    }
    assert!(!daemon.log().contains(FIRST) && !daemon.log().contains(SECOND));
    daemon.stop();
}
