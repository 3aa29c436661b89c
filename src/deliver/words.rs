//! Every cause with its message, as a table for `docs/delivery-failures.md`; `UPDATE_EXPECTED=1` writes it.

use std::fmt::Write as _;
use std::path::Path;

use super::{Cause, DeliverError};
use crate::fault::{Class, Fault};

fn all() -> Vec<Cause> {
    vec![
        Cause::UnknownKeyId,
        Cause::WrongSecret,
        Cause::ExpiredCredentials,
        Cause::NoCredentials,
        Cause::IdentityRefused,
        Cause::Denied { permission: "s3:PutObject".into() },
        Cause::KmsDenied,
        Cause::ClockSkew { by_s: Some(-1200) },
        Cause::NoSuchBucket,
        Cause::NoSuchObject,
        Cause::PartsLost,
        Cause::WrongRegion { region: Some("eu-central-1".into()) },
        Cause::WrongRegion { region: None },
        Cause::Quota,
        Cause::StoreFull,
        Cause::Throttled,
        Cause::ServerError,
        Cause::Corrupted,
        Cause::Taken,
        Cause::Locked,
        Cause::AclDisabled,
        Cause::NotSupported,
        Cause::Dns,
        Cause::Refused,
        Cause::Proxy,
        Cause::CertificateExpired,
        Cause::Tls,
        Cause::WrongName,
        Cause::EndpointIsHttp,
        Cause::EndpointIsHttps,
        Cause::Timeout,
        Cause::ConnectionLost,
        Cause::NotAStore,
        Cause::Other,
    ]
}

const HEAD: &str = "\
# When a store refuses

`queue list`, `doctor`, the log and the record report errors of a store with these messages. In every case the recording is safe on
the local disk.

- *target paused*: all deliveries to this target wait, longer after each attempt. One delivery is tried at the end of each pause, at
  SIGHUP and at `queue retry`. Other targets continue.
- *retried*: this delivery is retried automatically, after one second at first and up to five minutes later. If four deliveries
  in a row get no answer, the target is paused.
- *manual*: this delivery needs an operator; run `queue retry` when the cause is removed.

| message | delivery | what to do |
|---|---|---|
";

fn table() -> String {
    let mut text = HEAD.to_owned();
    for cause in all() {
        let then = match cause.class() {
            Class::Environment => "target paused",
            Class::Permanent => "manual",
            Class::Transient | Class::Cancelled => "retried",
        };
        let _ = writeln!(text, "| {cause} | {then} | {} |", cause.advice());
    }
    let untrusted = DeliverError::Untrusted { target: "NAME".into(), key: "x_2.mp4".into(), stored: 3 };
    let (words, hint) = (untrusted.to_string(), untrusted.hint().unwrap_or_default());
    let words = words.trim_start_matches("target `NAME`: ");
    let hint = hint.trim_start_matches("The recording is safe on the local disk. ");
    let _ = writeln!(text, "| {words} | target paused | {hint} |");
    text
}

#[test]
fn every_failure_has_its_words() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/delivery-failures.md");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, table()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), table(), "UPDATE_EXPECTED=1 writes it");
}
