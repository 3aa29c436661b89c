//! Recordings in a bucket, and the line to its store.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use aftercast::deliver::TargetOptions;
use serde_json::Value;

use super::http::{forward, read_request, reply, serve};
use super::recordings::ffmpeg;
use super::{RunOutput, Sandbox, config_with_targets};

/// The line to a store: notes requests, and goes dead at one of them, which the store still gets.
#[derive(Clone)]
pub struct Line {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<(String, usize)>>>,
    /// The number of the request whose answer is lost; none comes through after it.
    dies_at: Arc<AtomicUsize>,
    /// Whether that request was answered by the store.
    is_dead: Arc<AtomicUsize>,
}

impl Line {
    pub fn to(server: SocketAddr) -> Self {
        let (seen, dies_at) = (Arc::<Mutex<Vec<(String, usize)>>>::default(), Arc::new(AtomicUsize::new(usize::MAX)));
        let is_dead = Arc::<AtomicUsize>::default();
        let (noted, last, dead) = (Arc::clone(&seen), Arc::clone(&dies_at), Arc::clone(&is_dead));
        let address = serve(move |client| {
            let Some(request) = read_request(&client, |_, length| length) else { return };
            let number = {
                let mut noted = noted.lock().unwrap();
                noted.push((format!("{} {}", request.method, request.target), request.body.len()));
                noted.len()
            };
            match number.cmp(&last.load(Ordering::SeqCst)) {
                std::cmp::Ordering::Less => reply(&client, &forward(server, &request).unwrap_or_default()),
                std::cmp::Ordering::Equal => {
                    drop(forward(server, &request));
                    dead.store(1, Ordering::SeqCst);
                }
                std::cmp::Ordering::Greater => {}
            }
        });
        Self { address, seen, dies_at, is_dead }
    }

    pub fn take(&self) -> Vec<(String, usize)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// From now on the `n`-th request is the last one.
    pub fn dies_at(&self, n: usize) {
        self.take();
        self.is_dead.store(0, Ordering::SeqCst);
        self.dies_at.store(n, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst) == 1
    }
}

/// A house whose only target is in the bucket, reached by another address.
pub fn house(target: &TargetOptions, address: SocketAddr) -> Sandbox {
    let path = target.endpoint.as_ref().and_then(|at| at.strip_prefix("http://")?.split_once('/'));
    let path = path.map_or_else(String::new, |(_, path)| format!("/{path}"));
    let target = TargetOptions { endpoint: Some(format!("http://{address}{path}")), ..target.clone() };
    Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""))
}

/// A header-last MP4 of more than two of the least parts.
pub fn large() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.mp4");
        let noise = "testsrc2=s=640x360:r=25:d=6,noise=alls=60:allf=t";
        let sound = "sine=f=440:r=48000:d=6";
        let codecs = "-c:v libx264 -preset ultrafast -qp 12 -g 25 -pix_fmt yuv420p -c:a aac".split(' ');
        let mut args = vec!["-f", "lavfi", "-i", noise, "-f", "lavfi", "-i", sound];
        args.extend(codecs);
        args.push(path.to_str().unwrap());
        ffmpeg(&args);
        assert!(fs::metadata(&path).unwrap().len() > 11 << 20, "{:?}", fs::metadata(&path));
        (dir, path)
    });
    path
}

/// What local finishing makes of a file when it copies.
pub fn finished_locally(file: &Path, name: &str) -> Vec<u8> {
    let sandbox = Sandbox::with_config(|dir| {
        crate::support::standard_config(dir, "[finish]\nsplice = \"copy\"\nkeep_original = true\n")
    });
    sandbox.put(file, name);
    sandbox.process().expect_code(0);
    let vods = sandbox.vods();
    fs::read(vods[0]["filePath"].as_str().unwrap()).unwrap()
}

/// Runs `process` over a bucket.
pub fn process(sandbox: &Sandbox, url: &str, more: &[&str]) -> RunOutput {
    sandbox.run(&[&["--json", "process", url], more].concat())
}

/// Runs `process` over a line that dies at the `n`-th request, and kills it there; whether it came so far. The line lives again then.
pub fn killed_at(n: usize, line: &Line, sandbox: &Sandbox, url: &str) -> bool {
    line.dies_at(n);
    let mut running = sandbox.command(&["process", url]).spawn().unwrap();
    let begun = Instant::now();
    // The process may end by itself while the store is still busy with that request.
    while !line.is_dead() && (running.try_wait().unwrap().is_none() || line.seen.lock().unwrap().len() >= n) {
        assert!(begun.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = running.kill();
    running.wait().unwrap();
    let was_cut = line.is_dead();
    line.dies_at(usize::MAX);
    was_cut
}

/// What was said of an object.
pub fn item<'a>(lines: &'a [Value], key: &str) -> &'a Value {
    lines.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("no {key}: {lines:?}"))
}
