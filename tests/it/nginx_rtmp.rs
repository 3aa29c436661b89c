//! The main job beside a real ingest server: nginx with its RTMP module records what ffmpeg publishes, `aftercast watch`
//! finishes, catalogues, delivers to a real S3 server and frees.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::stores::{free_port, s3};
use crate::support::{Sandbox, config_with_targets, tree};

const PUBLISHED_S: u32 = 4;

/// nginx in the foreground; its worker ends with it.
pub struct Nginx {
    child: Child,
    port: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master takes its workers with it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn module() -> &'static str {
    let places = ["/usr/lib/nginx/modules/ngx_rtmp_module.so", "/usr/lib64/nginx/modules/ngx_rtmp_module.so"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    found.expect("nginx's RTMP module is missing: install libnginx-mod-rtmp")
}

pub fn nginx(directory: &Path, records_into: &Path) -> Nginx {
    let root = records_into.display();
    nginx_with(directory, &format!("record all; record_unique on; record_path {root};"), "")
}

/// With these directives in the application `live`, and a block of HTTP.
fn nginx_with(directory: &Path, application: &str, http: &str) -> Nginx {
    let port = free_port();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let dir = directory.display();
    let config = format!(
        "load_module {};\n{user}\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log warn;\ndaemon off;\n\
         events {{}}\nrtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on;\n\
         {application} }} }} }}\n{http}\n",
        module()
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    // Before the configuration is read it would open the log of the machine's own nginx.
    let mut nginx = Nginx { child: command.arg("-e").arg(directory.join("nginx.log")).spawn().unwrap(), port };
    until("nginx listens", || {
        let log = || fs::read_to_string(directory.join("nginx.log")).unwrap_or_default();
        assert!(nginx.child.try_wait().unwrap().is_none(), "nginx ended: {}", log());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop)
    });
    nginx
}

fn publish(nginx: &Nginx, stream: &str) {
    let url = format!("rtmp://127.0.0.1:{}/live/{stream}", nginx.port);
    let published = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-re", "-i"])
        .arg(made("flv", PUBLISHED_S))
        .args(["-c", "copy", "-f", "flv", &url])
        .output()
        .unwrap();
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
}

/// A publisher that goes on until it is dropped.
struct Publisher(Child);

impl Publisher {
    fn start(nginx: &Nginx, stream: &str) -> Self {
        let url = format!("rtmp://127.0.0.1:{}/live/{stream}", nginx.port);
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(made("flv", PUBLISHED_S));
        ffmpeg.args(["-c", "copy", "-f", "flv", &url]).stdin(Stdio::null()).stdout(Stdio::null());
        Self(ffmpeg.spawn().unwrap())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `doctor` says of the control module.
fn checked(sandbox: &Sandbox) -> (bool, String) {
    let checks = sandbox.run(&["--json", "doctor"]).json_lines();
    let check = checks.iter().find(|check| check["check"] == "control").unwrap();
    (check["ok"].as_bool().unwrap(), check["detail"].as_str().unwrap().to_owned())
}

#[test]
fn the_control_module_switches_a_recording_and_a_growing_file_proves_it() {
    let http_port = free_port();
    let sandbox = Sandbox::with_config(|dir| {
        let dir = dir.display();
        format!(
            "state_dir = \"{dir}/state\"\n[watch]\nsettle = \"0s\"\nquiet = \"1s\"\n\
             [[watch.root]]\npath = \"{dir}/root\"\nserver = \"nginx-rtmp\"\napp = \"live\"\n\
             control = \"http://127.0.0.1:{http_port}/control?rec=manual\"\ncontrol_credentials_file = \"{dir}/control\"\n"
        )
    });
    fs::write(sandbox.path().join("control"), "operator:hunter2\n").unwrap();
    fs::write(sandbox.path().join("htpasswd"), "operator:{PLAIN}hunter2\n").unwrap();
    let (dir, root) = (sandbox.path().display(), sandbox.root());
    let recorder =
        format!("recorder manual {{ record all manual; record_unique on; record_path {}; }}", root.display());
    let http = format!(
        "http {{ access_log off; server {{ listen 127.0.0.1:{http_port}; location /control {{\n\
         auth_basic control; auth_basic_user_file {dir}/htpasswd; rtmp_control all; }} }} }}"
    );
    let nginx = nginx_with(sandbox.path(), &recorder, &http);
    let daemon = Daemon::start(&sandbox);
    let stream = |args: &[&str]| sandbox.run(&[&["--json", "stream", "recording"], args].concat());
    let state = || stream(&["room1"]).expect_code(0).json_lines()[0].clone();

    assert_eq!(checked(&sandbox), (true, "`nginx-rtmp` answers".into()));
    let refused = stream(&["room1", "on"]).expect_code(5);
    assert!(refused.err.contains("did not begin to record") && refused.err.contains("`rec`"), "{}", refused.err);
    let publisher = Publisher::start(&nginx, "room1");
    let begun = until("the stream is live and its recording begins", || {
        let tried = stream(&["room1", "on"]);
        (tried.code() == 0).then(|| tried.json_lines()[0].clone())
    });
    assert_eq!((&begun["record"], &begun["server"]), (&true.into(), &"nginx-rtmp".into()), "{begun}");
    let told = until("a file of it is growing", || Some(state()).filter(|told| told["state"] == "recording"));
    let file = &told["roots"][0]["files"][0];
    assert_eq!((&told["roots"][0]["basis"], &file["writer"]), (&"files".into(), &"writing".into()), "{told}");
    let again = stream(&["room1", "on"]).expect_code(0).json_lines()[0].clone();
    assert_eq!(again["wasSo"], true, "{again}");
    until("a second of it is recorded", || {
        state()["roots"][0]["files"][0]["sizeBytes"].as_u64().filter(|size| *size > 50_000)
    });

    let ended = stream(&["room1", "off"]).expect_code(0).json_lines()[0].clone();
    assert_eq!((&ended["wasSo"], &ended["path"]), (&false.into(), &file["path"]), "{ended}");
    let vod = until("the recording is a VoD although its publisher goes on", || sandbox.vods().pop());
    assert_eq!((&vod["streamId"], &vod["server"]), (&"room1".into(), &"nginx-rtmp".into()), "{vod}");
    assert_ne!(state()["state"], "recording");
    let again = stream(&["room1", "off"]).expect_code(0).json_lines()[0].clone();
    assert_eq!(again["wasSo"], true, "{again}");
    drop(publisher);
    fs::write(sandbox.path().join("control"), "operator:wrong\n").unwrap();
    assert_eq!(checked(&sandbox), (false, "the ingest server refused: HTTP status 401".into()));
    let refused = stream(&["room1", "on"]).expect_code(5);
    assert!(
        refused.err.contains("HTTP status 401") && refused.err.contains("control_credentials_file"),
        "{}",
        refused.err
    );
    assert!(!daemon.log().contains("hunter2"));
    daemon.stop();
}

fn only_vod(sandbox: &Sandbox) -> Option<Value> {
    let vod = sandbox.vods().pop()?;
    vod["freedAt"].is_i64().then_some(vod)
}

#[test]
fn what_nginx_rtmp_records_is_finished_catalogued_delivered_and_freed() {
    let server = s3();
    let target = server.bucket("nginx-rtmp");
    let sandbox = Sandbox::with_config(|dir| {
        let more = "[retain]\ndelete_local = \"delivered\"\n";
        let config = config_with_targets(dir, &[&target], more);
        config.replace("settle = \"0s\"\n", "server = \"nginx-rtmp\"\n")
    });
    let nginx = nginx(sandbox.path(), &sandbox.root());
    let daemon = Daemon::start(&sandbox);
    publish(&nginx, "room1");

    let vod = until("it is catalogued, delivered and freed", || only_vod(&sandbox));
    assert_eq!((&vod["streamId"], &vod["server"]), (&"room1".into(), &"nginx-rtmp".into()), "{vod}");
    let name = vod["vodName"].as_str().unwrap();
    assert!(name.strip_suffix(".mp4").is_some_and(|stem| stem.starts_with("room1-")), "{name}");
    let duration_ms = vod["duration"].as_i64().unwrap();
    assert!((duration_ms - i64::from(PUBLISHED_S) * 1000).abs() < 500, "{duration_ms} ms");
    let codecs: Vec<_> = vod["tracks"].as_array().unwrap().iter().map(|t| t["codec"].as_str().unwrap()).collect();
    assert_eq!(codecs, ["h264", "aac"]);
    assert_eq!(vod["startSource"], "name", "{vod}");
    assert!(["close_seen", "lease"].contains(&vod["evidence"]["kind"].as_str().unwrap()), "{vod}");

    assert!(tree(&sandbox.root()).is_empty(), "nothing is left on the disk: {:?}", tree(&sandbox.root()).keys());
    let remote = &vod["remote"][0];
    assert_eq!(remote["key"], format!("pre/{name}"), "{remote}");
    assert_eq!((&remote["sizeBytes"], &remote["checksumCompared"]), (&vod["fileSize"], &true.into()), "{remote}");
    sandbox.run(&["vod", "verify"]).expect_code(0);
    assert_eq!(server.listing("nginx-rtmp"), [(format!("pre/{name}"), vod["fileSize"].as_u64().unwrap())]);
    daemon.stop();
}
