//! The protocol on real ext4 and XFS: what it makes, and what is left of it after any cut.

mod by_bytes;
mod cuts;
mod shutdown;
mod unknown;
mod whole;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::prepare::{PreparedSplice, SpliceRequest, prepare};
use crate::durable::image::{self, Image};
use crate::durable::{self, InPlaceEditor};
use crate::finish::{Inspection, inspect};
use crate::isobmff::{self, FileShape, Movie};
use crate::recording::Container;

/// The file systems that insert blocks, with room for the recordings.
fn images() -> Vec<(&'static str, Image)> {
    let mounted = [("ext4", 64), ("xfs", 320)].map(|(kind, mb)| (kind, Image::mount(kind, mb, &[])));
    mounted.into_iter().filter_map(|(kind, image)| Some((kind, image?))).collect()
}

/// Recordings whose header comes to the front: header last, header last with a box behind it, and fragmented.
const RECIPES: [&str; 3] = ["last", "behind", "fragmented"];

fn made(recipe: &str) -> PathBuf {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap();
    let path = DIR.get_or_init(|| tempfile::tempdir().unwrap()).path().join(format!("{recipe}.mp4"));
    if !path.exists() {
        let flags = if recipe.ends_with("fragmented") { "frag_keyframe+empty_moov" } else { "use_metadata_tags" };
        // Large ones are noise, which takes megabytes.
        let filter = if recipe.starts_with("large") { "noise=alls=60:allf=t" } else { "null" };
        let run = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=4"])
            .args(["-f", "lavfi", "-i", "sine=f=440:b=2:r=48000:d=4", "-c:v", "libx264", "-preset", "ultrafast"])
            .args([
                "-vf",
                filter,
                "-qp",
                "8",
                "-bf",
                "2",
                "-g",
                "30",
                "-pix_fmt",
                "yuv420p",
                "-c:a",
                "aac",
                "-movflags",
                flags,
            ])
            .arg(&path)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        if recipe == "behind" {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.extend(b"\0\0\0\x0Cskiprest");
            std::fs::write(&path, bytes).unwrap();
        }
    }
    path
}

/// What a file holds: per track the samples without their places and the digest of all payloads.
#[derive(Debug, PartialEq)]
struct Holdings(Vec<(Vec<SampleFacts>, [u8; 32])>);

/// Size, dts, pts and whether it is a keyframe.
type SampleFacts = (u32, i64, i64, bool);

fn holdings(path: &Path) -> Holdings {
    let movie = movie_of(path);
    let mut file = std::fs::File::open(path).unwrap();
    let digests = isobmff::payload_digests(&mut file, &movie).unwrap();
    let facts = |t: &isobmff::Track| t.samples().map(|s| (s.size_bytes, s.dts, s.pts, s.is_sync)).collect();
    Holdings(movie.tracks.iter().map(facts).zip(digests).collect())
}

fn movie_of(path: &Path) -> Movie {
    inspect(path).unwrap().iso.unwrap().movie.unwrap()
}

fn shape(path: &Path) -> FileShape {
    inspect(path).unwrap().shape().unwrap()
}

/// Prepares a splice in place of a file as it stands.
fn prepared(path: &Path, inspection: &Inspection) -> PreparedSplice {
    let before = durable::fingerprint(path).unwrap();
    let wanted = SpliceRequest { container: Container::Mp4, at_least_block: 512 };
    prepare(path, &before, inspection.header().unwrap(), wanted).unwrap().expect("can be spliced here")
}

/// A copy of a recording inside an image, durable, with a time of its own.
fn put(image: &Image, recipe: &str, name: &str) -> PathBuf {
    let path = image.path().join(name);
    std::fs::copy(made(recipe), &path).unwrap();
    settle(&path);
    path
}

fn settle(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123_456_789);
    file.set_modified(long_ago).unwrap();
    file.sync_all().unwrap();
}

fn extents_of(path: &Path) -> Vec<[u64; 3]> {
    InPlaceEditor::open(path).unwrap().extents().unwrap().unwrap()
}
