//! HTTP on TCP: who may ask for what, and what the daemon says where it cannot be had.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{Sandbox, standard_config};

const READER: &str = "a token for reading only";
const OPERATOR: &str = "a token for everything here";

/// A house whose daemon listens on a port that nobody has, with both tokens.
fn house_at(address: &str) -> Sandbox {
    Sandbox::with_config(|dir| {
        fs::write(dir.join("read.token"), format!("{READER}\n")).unwrap();
        fs::write(dir.join("operate.token"), format!("{OPERATOR}\nanother line\n")).unwrap();
        let (read, operate) = (dir.join("read.token"), dir.join("operate.token"));
        standard_config(dir, "")
            + &format!(
                "\n[serve]\nlisten = \"{address}\"\nread_token_file = \"{}\"\noperate_token_file = \"{}\"\norigins = [\"https://site.example\"]\n",
                read.display(),
                operate.display()
            )
    })
}

/// The address that the daemon says it serves on.
pub fn address_of(daemon: &Daemon) -> String {
    until("the daemon says where it serves", || {
        let log = daemon.log();
        let at = log.find("serving HTTP")?;
        let address = log[at..].split("address=").nth(1)?.split_whitespace().next()?;
        Some(address.replace("0.0.0.0", "127.0.0.1"))
    })
}

/// Status and body of an answer of `curl`.
pub fn curl(args: &[&str]) -> (u16, String) {
    let said = Command::new("curl").args(["-s", "-w", "\n%{http_code}"]).args(args).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// What a table of requests is answered: method, path, body, and the status without a token, with a wrong one, the reader's and
/// the operator's.
type Row = (&'static str, &'static str, &'static str, [u16; 4]);

fn check(base: &str, rows: &[Row]) {
    for (method, path, body, statuses) in rows {
        let tokens = [None, Some("no such token at all"), Some(READER), Some(OPERATOR)];
        for (token, status) in tokens.into_iter().zip(statuses) {
            let url = format!("{base}{path}");
            let header = token.map(|token| format!("Authorization: Bearer {token}"));
            let mut args = vec!["-X", *method, &url, "-H", "Content-Type: application/json", "--data", *body];
            if *method == "GET" {
                args.truncate(3);
            }
            args.extend(header.iter().flat_map(|header| ["-H", header.as_str()]));
            let (said, body) = curl(&args);
            assert_eq!(said, *status, "{method} {path} with {token:?}: {body}");
            assert!(!body.contains(READER) && !body.contains(OPERATOR), "{body}");
        }
    }
}

#[test]
fn each_route_asks_for_the_role_that_its_method_needs() {
    let local = house_at("127.0.0.1:0");
    let daemon = Daemon::start(&local);
    let base = format!("http://{}", address_of(&daemon));
    check(
        &base,
        &[
            ("GET", "/healthz", "", [200, 200, 200, 200]),
            ("GET", "/readyz", "", [200, 401, 200, 200]),
            ("GET", "/api/v1/vods", "", [200, 401, 200, 200]),
            ("GET", "/api/v1/status", "", [200, 401, 200, 200]),
            ("GET", "/api/v1/vods/nobody", "", [404, 401, 404, 404]),
            ("GET", "/api/v1/vods?token=x", "", [400, 400, 400, 400]),
            ("GET", "/api/v1/nothing", "", [404, 401, 404, 404]),
            ("POST", "/api/v1/queue/retry", "{}", [401, 401, 403, 200]),
            ("POST", "/api/v1/process", "no JSON", [401, 401, 403, 400]),
            ("PATCH", "/api/v1/vods/nobody", "{\"description\":\"x\"}", [401, 401, 403, 404]),
            ("DELETE", "/api/v1/vods/nobody", "", [401, 401, 403, 404]),
            ("PUT", "/api/v1/vods/nobody", "", [401, 401, 403, 405]),
            ("GET", "/api/v1/streams/room1/recording", "", [200, 401, 200, 200]),
            ("PUT", "/api/v1/streams/room1/recording", "{\"record\":true}", [401, 401, 403, 501]),
            ("PUT", "/root/rest/v2/broadcasts/room1/recording/true", "", [401, 401, 403, 501]),
            ("GET", "/", "", [200, 200, 200, 200]),
            ("GET", "/_page/0/app.js", "", [200, 200, 200, 200]),
            ("GET", "/_page/0/../../etc/passwd", "", [404, 401, 404, 404]),
            ("GET", "/_page/0/nothing", "", [404, 404, 404, 404]),
            ("POST", "/", "", [401, 401, 403, 405]),
            ("GET", "/api/v1/session", "", [200, 401, 200, 200]),
            ("POST", "/api/v1/session", "{}", [401, 401, 200, 200]),
            ("POST", "/api/v1/session", "{\"code\":\"0\"}", [401, 401, 401, 401]),
            ("POST", "/api/v1/login", "{}", [401, 401, 403, 200]),
            ("GET", "/api/v1/live", "", [200, 401, 200, 200]),
            ("GET", "/api/v1/streams", "", [200, 401, 200, 200]),
        ],
    );
    daemon.stop();

    let public = house_at("0.0.0.0:0");
    let daemon = Daemon::start(&public);
    let base = format!("http://{}", address_of(&daemon));
    check(
        &base,
        &[
            ("GET", "/healthz", "", [200, 200, 200, 200]),
            ("GET", "/readyz", "", [401, 401, 200, 200]),
            ("GET", "/api/v1/vods", "", [401, 401, 200, 200]),
            ("GET", "/api/v1/nothing", "", [401, 401, 404, 404]),
            ("POST", "/api/v1/queue/retry", "{}", [401, 401, 403, 200]),
            ("GET", "/", "", [200, 200, 200, 200]),
            ("GET", "/_page/0/style.css", "", [200, 200, 200, 200]),
            ("GET", "/api/v1/session", "", [401, 401, 200, 200]),
            ("POST", "/api/v1/session", "{}", [401, 401, 200, 200]),
        ],
    );
    daemon.stop();
}

#[test]
fn a_code_gives_one_session_whose_cookie_reads_media_until_it_ends() {
    let sandbox = house_at("0.0.0.0:0");
    sandbox.put(&made("mp4-faststart", 1), "room1.mp4");
    sandbox.process().expect_code(0);
    let id = sandbox.vods()[0]["vodId"].as_str().unwrap().to_owned();
    let daemon = Daemon::start(&sandbox);
    let base = format!("http://{}", address_of(&daemon));
    let json = |said: &str| serde_json::from_str::<Value>(said).unwrap();
    let operator = format!("Authorization: Bearer {OPERATOR}");
    let (status, made) = curl(&["-X", "POST", &format!("{base}/api/v1/login"), "-H", &operator, "--data", "{}"]);
    assert_eq!(status, 200, "{made}");
    let code = json(&made)["code"].as_str().unwrap().to_owned();
    let jar = sandbox.path().join("cookies");
    let jar = jar.to_str().unwrap();
    let body = format!("{{\"code\":\"{code}\"}}");
    let session = format!("{base}/api/v1/session");
    let (status, given) = curl(&["-X", "POST", &session, "-c", jar, "--data", &body]);
    assert_eq!((status, &json(&given)["role"]), (200, &"operate".into()), "{given}");
    assert_eq!(curl(&["-X", "POST", &session, "--data", &body]).0, 401, "the code was used");

    let token = format!("Authorization: Bearer {}", json(&given)["token"].as_str().unwrap());
    let retry = format!("{base}/api/v1/queue/retry");
    assert_eq!(curl(&["-X", "POST", &retry, "-H", &token, "--data", "{}"]).0, 200);
    let media = format!("{base}/api/v1/vods/{id}/media");
    let seen = |args: &[&str]| curl(&[args, &["-o", "/dev/null"]].concat()).0;
    assert_eq!(seen(&[&media]), 401);
    assert_eq!(seen(&[&media, "-b", jar]), 200);
    assert_eq!(seen(&[&format!("{base}/api/v1/vods"), "-b", jar]), 401, "a cookie lists nothing");
    assert_eq!(curl(&["-X", "POST", &retry, "-b", jar, "--data", "{}"]).0, 401, "a cookie changes nothing");
    assert_eq!(curl(&["-X", "DELETE", &session, "-H", &token]).0, 200);
    assert_eq!((seen(&[&media, "-b", jar]), seen(&[&media, "-H", &token])), (401, 401), "the session has ended");
    daemon.stop();
}

#[test]
fn without_the_page_its_address_is_nothing() {
    let sandbox =
        Sandbox::with_config(|dir| standard_config(dir, "") + "\n[serve]\nlisten = \"127.0.0.1:0\"\npage = false\n");
    let daemon = Daemon::start(&sandbox);
    let base = format!("http://{}", address_of(&daemon));
    assert_eq!(curl(&[&format!("{base}/")]).0, 404);
    assert_eq!(curl(&[&format!("{base}/_page/0/app.js")]).0, 404);
    assert!(sandbox.run(&["open", "--print"]).err.contains("does not serve the page"));
    daemon.stop();
}

#[test]
fn pages_of_listed_origins_may_read_and_no_others() {
    let sandbox = house_at("127.0.0.1:0");
    let daemon = Daemon::start(&sandbox);
    let url = format!("http://{}/api/v1/vods", address_of(&daemon));
    let allowed = |origin: &str| {
        let said = Command::new("curl").args(["-s", "-i", &url, "-H", &format!("Origin: {origin}")]).output().unwrap();
        String::from_utf8(said.stdout)
            .unwrap()
            .to_lowercase()
            .contains("access-control-allow-origin: https://site.example")
    };
    assert!(allowed("https://site.example"));
    assert!(!allowed("https://other.example"));
    let preflight = Command::new("curl")
        .args(["-s", "-i", "-X", "OPTIONS", &url, "-H", "Origin: https://site.example"])
        .args(["-H", "Access-Control-Request-Method: DELETE", "-H", "Access-Control-Request-Headers: authorization"])
        .output()
        .unwrap();
    let preflight = String::from_utf8(preflight.stdout).unwrap().to_lowercase();
    assert!(preflight.starts_with("http/1.1 200"), "{preflight}");
    assert!(preflight.contains("access-control-allow-headers: authorization"), "{preflight}");
    daemon.stop();
}

fn refused(serve: impl FnOnce(&Path) -> String, words: &str) {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "") + &format!("\n[serve]\n{}", serve(dir)));
    let said = sandbox.run(&["watch"]);
    let said = said.expect_code(5);
    assert!(said.err.contains(words), "{}", said.err);
}

#[test]
fn what_cannot_be_served_ends_the_start_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    refused(|_| format!("listen = \"{address}\"\n"), "Another program has this port");
    refused(|_| "listen = \"0.0.0.0:0\"\n".to_owned(), "not a loopback address, and no token");
    refused(|_| "operate_token_file = \"/no/such/file\"\n".to_owned(), "cannot read the token");
    let short = |dir: &Path| {
        fs::write(dir.join("short"), "secret\n").unwrap();
        format!("listen = \"127.0.0.1:0\"\noperate_token_file = \"{}\"\n", dir.join("short").display())
    };
    refused(short, "fewer than 16 characters");
}

pub fn certificate(dir: &Path, name: &str) {
    let (key, cert) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.crt")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn tls(dir: &Path, cert: &str, key: &str) -> String {
    let (cert, key) = (dir.join(cert), dir.join(key));
    format!("listen = \"127.0.0.1:0\"\ntls_cert = \"{}\"\ntls_key = \"{}\"\n", cert.display(), key.display())
}

#[test]
fn https_is_served_with_a_certificate_and_its_own_key_only() {
    refused(
        |dir| {
            certificate(dir, "one");
            certificate(dir, "other");
            tls(dir, "one.crt", "other.key")
        },
        "TLS cannot be used",
    );
    refused(|dir| tls(dir, "none.crt", "none.key"), "TLS cannot be used");
    let sandbox = Sandbox::with_config(|dir| {
        certificate(dir, "one");
        standard_config(dir, "") + &format!("\n[serve]\n{}", tls(dir, "one.crt", "one.key"))
    });
    let daemon = Daemon::start(&sandbox);
    let url = format!("https://{}/api/v1/status", address_of(&daemon));
    let cert = sandbox.path().join("one.crt");
    let (status, body) = curl(&["--cacert", cert.to_str().unwrap(), &url]);
    assert_eq!(status, 200, "{body}");
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["isReady"], true, "{status}");
    daemon.stop();
}

/// Names of metrics in a text, as series of the exposition: without what Prometheus adds for histograms.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("aftercast_"));
    words.map(str::to_owned).collect()
}

/// The name of a metric without what the exposition adds for its kind and unit.
fn family(name: &str) -> &str {
    let endings = ["_total", "_bucket", "_count", "_sum", "_created", "_info"];
    let name = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    ["_bytes", "_seconds"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name)
}

fn has(names: &BTreeSet<String>, wanted: &str) -> bool {
    names.iter().any(|name| family(name) == wanted)
}

fn of_the_repository(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

#[test]
fn metrics_count_what_happens_and_the_dashboard_and_the_alerts_name_no_others() {
    let sandbox = house_at("127.0.0.1:0");
    let daemon = Daemon::start(&sandbox);
    let base = format!("http://{}", address_of(&daemon));
    fs::copy(made("flv", 2), sandbox.path().join("root/room1.flv")).unwrap();
    fs::write(sandbox.path().join("root/room2.mp4"), b"\0\0\0\x10ftypisom\0\0\0\0 no media follows").unwrap();
    let text = until("both recordings have come to their end and the one is delivered", || {
        let (status, text) = curl(&[&format!("{base}/metrics")]);
        assert_eq!(status, 200, "{text}");
        let has = |line: &str| text.lines().any(|known| known == line);
        let is_delivered =
            text.lines().any(|line| line.starts_with("aftercast_deliveries_total{target=") && line.ends_with(" 1"));
        (has("aftercast_recordings_finished_total{outcome=\"remuxed\"} 1")
            || has("aftercast_recordings_finished_total{outcome=\"spliced\"} 1"))
        .then_some(())?;
        (has("aftercast_recordings_quarantined_total 1") && is_delivered).then_some(text)
    });
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("aftercast_defects_total{kind=\"no_movie_header\"} 1"), "{text}");
    assert!(text.contains("aftercast_stage_duration_seconds_count{stage=\"deliver\"} 1"), "{text}");
    assert!(text.contains("aftercast_ready 1"), "{text}");
    assert!(!text.contains("room1"), "a label has no bound: {text}");

    let (printed, documented) = (names_in(&text), names_in(&of_the_repository("docs/monitoring/README.md")));
    let undocumented: Vec<_> = printed.iter().map(|name| family(name)).filter(|name| !has(&documented, name)).collect();
    assert!(undocumented.is_empty(), "docs/monitoring/README.md lacks {undocumented:?}");
    // Not each of them has a value in this house: a disk that does not fill, an event that nobody reads.
    let code = ["counters", "disks", "gauges"].map(|file| of_the_repository(&format!("src/serve/metrics/{file}.rs")));
    let unknown: Vec<_> = documented
        .iter()
        .map(|name| family(name).trim_start_matches("aftercast_").to_owned())
        .filter(|name| !code.iter().any(|text| text.contains(&format!("\"{name}\""))))
        .collect();
    assert!(unknown.is_empty(), "docs/monitoring/README.md names {unknown:?}");
    for file in ["docs/monitoring/alerts.yml", "docs/monitoring/grafana.json"] {
        let wanted = names_in(&of_the_repository(file));
        assert!(wanted.len() >= 5, "{file} names {wanted:?}");
        let unknown: Vec<_> = wanted.iter().filter(|name| !has(&documented, family(name))).collect();
        assert!(unknown.is_empty(), "{file} names metrics that are not documented: {unknown:?}");
        // This house has no fleet; who has one looks there.
        assert!(
            ["fleet_connected", "fleet_vods_waiting"].iter().all(|name| wanted.contains(&format!("aftercast_{name}")))
        );
    }
    let (status, ready) = curl(&[&format!("{base}/readyz")]);
    assert_eq!((status, ready.as_str()), (200, "{\"isReady\":true,\"notReady\":[]}"));
    daemon.stop();
}

#[test]
fn a_shared_link_plays_its_vod_without_a_token_until_it_expires() {
    let sandbox = house_at("0.0.0.0:0");
    let daemon = Daemon::start(&sandbox);
    let base = format!("http://{}", address_of(&daemon));
    fs::copy(made("mp4-faststart", 2), sandbox.path().join("root/room1.mp4")).unwrap();
    let operator = format!("Authorization: Bearer {OPERATOR}");
    let ask = |args: &[&str]| {
        let (status, body) = curl(&[args, &["-H", &operator, "-H", "Content-Type: application/json"]].concat());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let id = until("the recording is a VoD", || {
        let page = ask(&[&format!("{base}/api/v1/vods")]);
        page["items"][0]["vodId"].as_str().map(str::to_owned)
    });
    let share = |seconds: u32| {
        let body = format!("{{\"expiresInS\":{seconds}}}");
        let link = ask(&[&format!("{base}/api/v1/vods/{id}/share"), "-d", &body]);
        format!("{base}/{}", link["path"].as_str().unwrap())
    };
    let link = share(3_600);
    let (expected, got) = (fs::read(sandbox.path().join("root/room1.mp4")).unwrap(), sandbox.path().join("got"));
    let (status, _) = curl(&["-o", got.to_str().unwrap(), &link]);
    assert_eq!((status, fs::read(&got).unwrap() == expected), (200, true));
    let (status, range) = curl(&["-o", "/dev/null", "-r", "0-99", &link]);
    assert_eq!(status, 206, "{range}");

    let (whole, signature) = link.rsplit_once('/').unwrap();
    let other = if signature.starts_with('0') { "1" } else { "0" };
    let later = format!("{whole}0/{signature}");
    for wrong in
        [format!("{whole}/{other}{}", &signature[1..]), later, format!("{whole}/zz"), format!("{base}/share/{id}/x/y")]
    {
        let (status, body) = curl(&[&wrong]);
        assert_eq!(status, 404, "{wrong}: {body}");
    }
    let short = share(1);
    until("the link has expired", || {
        let (status, body) = curl(&["-o", "/dev/null", &short]);
        (status == 404).then_some(body)
    });
    assert_eq!(curl(&["-o", "/dev/null", &link]).0, 200, "another link lives on");
    daemon.stop();
}

#[test]
fn requests_that_stall_or_ask_for_too_much_keep_no_recording_waiting() {
    let sandbox = house_at("127.0.0.1:0");
    let daemon = Daemon::start(&sandbox);
    let address = address_of(&daemon);
    let stalled: Vec<_> = (0..300)
        .map(|n| {
            let mut stream = TcpStream::connect(&address).unwrap();
            let sent: &[u8] = match n % 4 {
                0 => b"",
                1 => b"GET /api/v1/vo",
                2 => b"POST /api/v1/process HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
                // Nobody reads what this one is sent.
                _ => b"GET /api/v1/events HTTP/1.1\r\nhost: x\r\n\r\n",
            };
            stream.write_all(sent).unwrap();
            stream
        })
        .collect();
    fs::copy(made("mp4-faststart", 2), sandbox.path().join("root/room1.mp4")).unwrap();
    let id = until("the recording is a VoD all the same", || {
        let (_, body) = curl(&[&format!("http://{address}/api/v1/vods")]);
        let page: Value = serde_json::from_str(&body).ok()?;
        page["items"][0]["vodId"].as_str().map(str::to_owned)
    });
    let ranges: Vec<_> = (0..1_000).map(|n| format!("{n}-{n}")).collect();
    let media = format!("http://{address}/api/v1/vods/{id}/media");
    let (status, _) = curl(&["-o", "/dev/null", "-r", &ranges.join(","), &media]);
    assert_eq!(status, 200, "too many ranges: the whole file once");
    drop(stalled);
    daemon.stop();
}
