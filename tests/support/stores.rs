//! Starts real object stores on loopback: SeaweedFS for S3, Azurite for Azure, `rclone serve s3` for Google's XML
//! interface. They come from the directory `AFTERCAST_TEST_TOOLS` (default `target/test-tools`), which
//! `scripts/install-test-stores` fills; a missing one fails the test, it is never skipped.
//!
//! One server of each kind is shared by the tests that run at the same time; the last one to let go kills it. Tests
//! keep apart by bucket.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use aftercast::deliver::TargetOptions;
use sha2::{Digest, Sha256};

/// The name below which buckets are hosts; nothing resolves it.
pub const S3_DOMAIN: &str = "store.test";
pub const ACCESS_KEY: &str = "test-key";
pub const SECRET_KEY: &str = "test-secret";
/// A key that may read and list, and nothing else.
pub const READER_KEY: &str = "reader-key";
pub const READER_SECRET: &str = "reader-secret";

/// A running server; killed when the last test lets go of it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SeaweedFS takes half a minute over SIGTERM.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Shared = Mutex<Weak<Server>>;
static SEAWEED: Shared = Mutex::new(Weak::new());
static AZURITE: Shared = Mutex::new(Weak::new());
static RCLONE: Shared = Mutex::new(Weak::new());

fn shared(slot: &Shared, start: fn() -> Option<Server>) -> Arc<Server> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    slot.upgrade().unwrap_or_else(|| {
        // A port that was free may be taken before the server binds it.
        let server = (0..5).find_map(|_| start()).unwrap_or_else(|| panic!("it ended each time: its log is above"));
        let server = Arc::new(server);
        *slot = Arc::downgrade(&server);
        server
    })
}

fn tool(below: &str) -> PathBuf {
    let tools = std::env::var_os("AFTERCAST_TEST_TOOLS").map(PathBuf::from);
    let tools = tools.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools"));
    let path = tools.join(below);
    assert!(path.exists(), "{} is missing: run scripts/install-test-stores", path.display());
    path
}

/// A port that is free, and that no other test takes while this process lives: each is claimed by a lock. It is below those that the
/// system gives to connections.
pub fn free_port() -> u16 {
    static CLAIMED: Mutex<Vec<File>> = Mutex::new(Vec::new());
    static TRIED: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    let claims = std::env::temp_dir().join(format!("aftercast-test-ports-{}", rustix::process::getuid().as_raw()));
    std::fs::create_dir_all(&claims).unwrap();
    for _ in 0..COUNT {
        // Each process begins elsewhere.
        let begin = std::process::id().wrapping_mul(7_919);
        let number = FIRST + begin.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(number).unwrap();
        let claim = File::create(claims.join(port.to_string())).unwrap();
        let is_ours = rustix::fs::flock(&claim, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_ours && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
            return port;
        }
    }
    panic!("no port is free from {FIRST} on");
}

/// Starts a server and waits until it is up; `None`, and its log on standard error, if it ended: something else may have a port of it.
fn spawn(
    command: &mut Command,
    port: u16,
    directory: tempfile::TempDir,
    is_up: impl Fn(SocketAddr) -> bool,
) -> Option<Server> {
    let log = File::create(directory.path().join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let child = command.spawn().unwrap();
    let mut server = Server { child, address: (Ipv4Addr::LOCALHOST, port).into(), directory };
    let begun = Instant::now();
    loop {
        // In this order: another server may answer at the port, and this one end because of it.
        let is_up = is_up(server.address);
        let log = || std::fs::read_to_string(server.directory.path().join("log")).unwrap_or_default();
        if let Some(status) = server.child.try_wait().unwrap() {
            let _ = writeln!(std::io::stderr(), "the server ended ({status}): {}", log());
            return None;
        }
        if is_up {
            return Some(server);
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "the server does not answer: {}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One request over a connection of its own; the status, 0 if there was no answer.
pub fn request(address: SocketAddr, head: &str) -> u16 {
    request_with(address, head, "")
}

fn request_with(address: SocketAddr, head: &str, body: &str) -> u16 {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let length = body.len();
        write!(stream, "{head}Host: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
        let mut answer = [0; 64];
        let read = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
    };
    let answer = ask().unwrap_or_default();
    answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Writes a secret into a file of its own, for `credential_files`.
pub fn secret(directory: &Path, name: &str, value: &str) -> PathBuf {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let path = directory.join(format!("{name}-{}", WRITTEN.fetch_add(1, Ordering::Relaxed)));
    std::fs::write(&path, value).unwrap();
    path
}

// S3: SeaweedFS.

/// An S3 server that checks signatures, checksums, conditions, and has one bucket per call of [`S3::bucket`].
pub struct S3(Arc<Server>);

const IDENTITIES: &str = r#"{"identities":[
    {"name":"test","credentials":[{"accessKey":"test-key","secretKey":"test-secret"}],"actions":["Admin"]},
    {"name":"reader","credentials":[{"accessKey":"reader-key","secretKey":"reader-secret"}],"actions":["Read","List"]},
    {"name":"anonymous","actions":["Admin"]}]}"#;

fn start_seaweed() -> Option<Server> {
    let weed = tool("python/bin/weed");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("s3.json"), IDENTITIES).unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let port = free_port();
    let mut command = Command::new(weed);
    command.arg("mini").arg(format!("-dir={}", data.display())).arg(format!("-s3.port={port}"));
    command.arg(format!("-s3.config={}", directory.path().join("s3.json").display()));
    for own in ["master", "volume", "filer", "admin"] {
        command.arg(format!("-{own}.port={}", free_port())).arg(format!("-{own}.port.grpc={}", free_port()));
    }
    command.arg(format!("-s3.port.grpc={}", free_port()));
    // Nothing may leave the machine, and nothing else may listen.
    command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-s3.autoCreateBucket=false"]);
    command.arg(format!("-s3.domainName={S3_DOMAIN}"));
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]);
    command.current_dir(directory.path());
    // A bucket can be made before a volume can take bytes.
    spawn(&mut command, port, directory, |address| {
        request(address, "PUT /ready HTTP/1.1\r\n") != 0
            && request_with(address, "PUT /ready/x HTTP/1.1\r\n", "bytes") == 200
    })
}

pub fn s3() -> S3 {
    S3(shared(&SEAWEED, start_seaweed))
}

/// All keys of a bucket of an S3 server that lets anybody list.
pub fn keys_in(address: SocketAddr, bucket: &str) -> std::collections::BTreeSet<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /{bucket}?list-type=2&max-keys=1000 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("<ListBucketResult"), "{answer}");
    answer.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
}

/// Whether a key is that of an object by which we find out what a store can do.
pub fn is_probe(key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|name| name.starts_with(".aftercast-probe-"))
}

impl S3 {
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Creates a bucket and gives a target in it, under the prefix `pre`.
    pub fn bucket(&self, bucket: &str) -> TargetOptions {
        assert_eq!(request(self.0.address, &format!("PUT /{bucket} HTTP/1.1\r\n")), 200);
        self.target(bucket, ACCESS_KEY, SECRET_KEY)
    }

    /// What the server itself lists in a bucket: key and size of every object, but for the probes of ours that come and go.
    pub fn listing(&self, bucket: &str) -> Vec<(String, u64)> {
        let mut stream = TcpStream::connect(self.0.address).unwrap();
        let address = self.0.address;
        write!(stream, "GET /{bucket}?list-type=2 HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let text = |entry: &str, tag: &str| {
            let value = entry.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once("</"));
            value.map_or_else(|| panic!("no {tag}: {entry}"), |(value, _)| value.to_owned())
        };
        let entries = answer.split("<Contents>").skip(1);
        let objects = entries.map(|entry| (text(entry, "Key"), text(entry, "Size").parse().unwrap()));
        objects.filter(|(key, _): &(String, u64)| !is_probe(key)).collect()
    }

    /// A target with credentials of one's own.
    pub fn target(&self, bucket: &str, key: &str, secret_key: &str) -> TargetOptions {
        let mut options = TargetOptions::new("cloud", &format!("s3://{bucket}/pre"));
        options.endpoint = Some(format!("http://{}", self.0.address));
        let directory = self.0.directory.path();
        let files = [("access_key_id", key), ("secret_access_key", secret_key)];
        for (name, value) in files {
            let path = secret(directory, name, value);
            options.credential_files.insert(name.into(), path);
        }
        options
    }
}

// S3 with policies, and over https: moto.

/// A server that refuses by policies: a user for each action that is denied to them alone.
pub struct Moto {
    child: Child,
    directory: tempfile::TempDir,
    said: serde_json::Value,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn moto() -> Moto {
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/moto_server.py");
    let mut command = Command::new(tool("python/bin/python"));
    command.arg(script).arg(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said = serde_json::from_str(&line).unwrap_or_else(|e| panic!("the server ended: {e}: {line}"));
    Moto { child, directory, said }
}

impl Moto {
    fn port(&self, of: &serde_json::Value) -> u64 {
        of.as_u64().unwrap_or_else(|| panic!("no such port: {}", self.said))
    }

    /// A target for the user to whom an action is denied (`nothing`: to whom none is).
    pub fn without(&self, action: &str) -> TargetOptions {
        self.target(&format!("http://127.0.0.1:{}", self.port(&self.said["http"])), action)
    }

    /// A target over https, with a certificate of a kind.
    pub fn over_https(&self, certificate: &str) -> TargetOptions {
        self.target(&format!("https://127.0.0.1:{}", self.port(&self.said["tls"][certificate])), "nothing")
    }

    /// The address of a service that gives a session's keys for a token, over https; the token; and what of all this nobody
    /// may see.
    pub fn token_service(&self) -> (String, &str, Vec<&str>) {
        let sts = &self.said["sts"];
        let address = format!("https://127.0.0.1:{}", self.port(&sts["port"]));
        let secrets = sts["secrets"].as_array().unwrap().iter().map(|secret| secret.as_str().unwrap());
        (address, sts["token"].as_str().unwrap(), secrets.collect())
    }

    /// A proxy behind which Google's accounts answer, and what of theirs nobody may see: a client's secret, the refresh token
    /// of a person, and what it is exchanged for.
    pub fn accounts(&self) -> (String, [&str; 3]) {
        let accounts = &self.said["accounts"];
        let address = format!("http://127.0.0.1:{}", self.port(&accounts["port"]));
        (address, ["client_secret", "refresh_token", "access_token"].map(|name| accounts[name].as_str().unwrap()))
    }

    /// The certificate that signs the good ones.
    pub fn authority(&self) -> PathBuf {
        self.said["ca"].as_str().unwrap().into()
    }

    fn target(&self, endpoint: &str, user: &str) -> TargetOptions {
        let bucket = self.said["bucket"].as_str().unwrap();
        let mut options = TargetOptions::new("cloud", &format!("s3://{bucket}/pre"));
        options.endpoint = Some(endpoint.to_owned());
        for (name, index) in [("access_key_id", 0), ("secret_access_key", 1)] {
            let value = self.said["keys"][user][index].as_str().unwrap();
            options.credential_files.insert(name.into(), secret(self.directory.path(), name, value));
        }
        options
    }
}

// Azure: Azurite.

const AZURE_ACCOUNT: &str = "devstoreaccount1";
/// Published by Microsoft for every emulator.
pub const AZURE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub struct Azure(Arc<Server>);

fn start_azurite() -> Option<Server> {
    let azurite = tool("node_modules/.bin/azurite-blob");
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(azurite);
    command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
    command.args(["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
    command.current_dir(directory.path());
    spawn(&mut command, port, directory, |address| request(address, "GET / HTTP/1.1\r\n") != 0)
}

pub fn azure() -> Azure {
    Azure(shared(&AZURITE, start_azurite))
}

impl Azure {
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Creates a container and gives a target in it, under the prefix `pre`.
    pub fn container(&self, container: &str) -> TargetOptions {
        let date =
            jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now()).unwrap();
        let headers = format!("x-ms-date:{date}\nx-ms-version:2021-08-06\n");
        let nothing = "\n".repeat(12);
        let resource = format!("/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{container}\nrestype:container");
        let signed = format!("PUT{nothing}{headers}{resource}");
        let signature = base64(&hmac_sha256(&from_base64(AZURE_KEY), signed.as_bytes()));
        let head = format!(
            "PUT /{AZURE_ACCOUNT}/{container}?restype=container HTTP/1.1\r\nx-ms-date: {date}\r\n\
             x-ms-version: 2021-08-06\r\nAuthorization: SharedKey {AZURE_ACCOUNT}:{signature}\r\n"
        );
        assert_eq!(request(self.0.address, &head), 201);
        self.target(container)
    }

    /// The same with a shared access signature of a container that may do what its letters say, and nothing else.
    pub fn signed_for(&self, container: &str, letters: &str) -> TargetOptions {
        let mut options = self.container(container);
        let (version, ends) = ("2020-12-06", "2999-01-01T00:00:00Z");
        let fields = [letters, "", ends, &format!("/blob/{AZURE_ACCOUNT}/{container}"), "", "", "", version, "c"];
        let signed = fields.join("\n") + &"\n".repeat(7);
        let signature = base64(&hmac_sha256(&from_base64(AZURE_KEY), signed.as_bytes()));
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let sas = format!("sv={version}&se={ends}&sr=c&sp={letters}&sig={signature}");
        let path = secret(self.0.directory.path(), "sas", &sas);
        options.credential_files.insert("sas".into(), path);
        options
    }

    /// A target in a container that need not exist.
    pub fn target(&self, container: &str) -> TargetOptions {
        let mut options = TargetOptions::new("cloud", &format!("az://{container}/pre"));
        options.endpoint = Some(format!("http://{}/{AZURE_ACCOUNT}", self.0.address));
        options
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|b| b ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn base64(bytes: &[u8]) -> String {
    let sextet = |chunk: &[u8], digit: usize| {
        let word = chunk.iter().chain(&[0, 0]).take(3).fold(0usize, |w, b| w << 8 | usize::from(*b));
        if digit <= chunk.len() { char::from(BASE64[word >> (18 - 6 * digit) & 63]) } else { '=' }
    };
    bytes.chunks(3).flat_map(|chunk| (0..4).map(move |digit| sextet(chunk, digit))).collect()
}

pub fn from_base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0usize, 0);
    for digit in text.trim_end_matches('=').bytes() {
        word = word << 6 | BASE64.iter().position(|b| *b == digit).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xFF).unwrap());
        }
    }
    bytes
}

// Google: rclone speaks the XML interface, without its checksums and without authentication.

pub struct Gcs(Arc<Server>);

fn start_rclone() -> Option<Server> {
    let rclone = tool("python/bin/rclone");
    let directory = tempfile::tempdir().unwrap();
    let buckets = directory.path().join("buckets");
    std::fs::create_dir(&buckets).unwrap();
    let port = free_port();
    let mut command = Command::new(rclone);
    command.args(["serve", "s3", "--addr", &format!("127.0.0.1:{port}"), "--config", "/dev/null"]).arg(&buckets);
    // Whatever proxy or configuration is set outside must not reach in.
    command.env("HOME", directory.path());
    spawn(&mut command, port, directory, |address| request(address, "GET / HTTP/1.1\r\n") != 0)
}

/// `rclone serve s3` of a directory of one's own, without authentication: each directory in it is a bucket.
pub fn rclone_serving(directory: &Path) -> (Child, SocketAddr) {
    (0..5).find_map(|_| try_rclone_serving(directory)).unwrap_or_else(|| panic!("no port stays free"))
}

fn try_rclone_serving(directory: &Path) -> Option<(Child, SocketAddr)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = Command::new(tool("python/bin/rclone"));
    command.args(["serve", "s3", "--addr", &address.to_string(), "--config", "/dev/null"]).arg(directory);
    command.env("HOME", directory).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    loop {
        if request(address, "GET / HTTP/1.1\r\n") != 0 {
            return Some((child, address));
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn gcs() -> Gcs {
    Gcs(shared(&RCLONE, start_rclone))
}

impl Gcs {
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Creates a bucket and gives a target in it, under the prefix `pre`.
    pub fn bucket(&self, bucket: &str) -> TargetOptions {
        assert_eq!(request(self.0.address, &format!("PUT /{bucket} HTTP/1.1\r\n")), 200);
        let directory = self.0.directory.path();
        let account = format!(
            r#"{{"gcs_base_url":"http://{}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#,
            self.0.address
        );
        let mut options = TargetOptions::new("cloud", &format!("gs://{bucket}/pre"));
        let path = secret(directory, "service-account.json", &account);
        options.credential_files.insert("service_account".into(), path);
        options
    }
}
