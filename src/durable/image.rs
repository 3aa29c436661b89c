//! A file system of a known kind in a file, mounted over a loop device; needs root.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where so much room is in memory that images need no disk.
const MEMORY: &str = "/dev/shm";
/// Room for a few images at once.
const MEMORY_BYTES: u64 = 1 << 30;

/// Bytes that are compared and written at a time; images are whole megabytes.
const CHUNK_BYTES: usize = 64 << 10;

/// What an image holds: chunks by their number, those that are not there are zeros.
pub(crate) type Contents = BTreeMap<u64, Vec<u8>>;

/// A mounted image; unmounted when dropped. Its device number stays the same however often it is mounted again.
pub(crate) struct Image {
    dir: tempfile::TempDir,
    device: String,
}

impl Image {
    /// Makes and mounts a file system; says why not where that is impossible.
    pub(crate) fn mount(kind: &str, size_mb: u64, options: &[&str]) -> Option<Self> {
        let has_memory = super::free_bytes(Path::new(MEMORY)).is_ok_and(|bytes| bytes > MEMORY_BYTES);
        let dir = if has_memory { tempfile::tempdir_in(MEMORY) } else { tempfile::tempdir() }.unwrap();
        let file = dir.path().join("image");
        std::fs::File::create(&file).unwrap().set_len(size_mb << 20).unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        let made = run(Command::new(format!("mkfs.{kind}")).arg("-q").args(options).arg(&file));
        let attached = made.and_then(|_| run(Command::new("losetup").args(["--find", "--show"]).arg(&file)));
        let image = attached.map(|device| Self { dir, device: device.trim().to_owned() });
        match image.and_then(|image| image.try_mount().map(|()| image)) {
            Ok(image) => Some(image),
            Err(why) => {
                let _ = writeln!(std::io::stdout(), "skipped: no {kind} image here: {why}");
                None
            }
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn try_mount(&self) -> Result<(), String> {
        run(Command::new("mount").arg(&self.device).arg(self.path())).map(drop)
    }

    /// Mounts it again.
    pub(crate) fn mount_again(&self) {
        self.try_mount().unwrap();
    }

    /// Unmounts it; whoever still has a file open there is told off.
    pub(crate) fn unmount(&self) {
        run(Command::new("umount").arg(self.path())).unwrap();
    }

    /// What it holds; unmounted.
    pub(crate) fn contents(&self) -> Contents {
        let file = std::fs::File::open(self.file()).unwrap();
        chunks_with_data(&file).into_iter().map(|number| (number, read_chunk(&file, number))).collect()
    }

    /// Makes it what it was; unmounted. Only what differs is written.
    pub(crate) fn restore(&self, contents: &Contents) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().read(true).write(true).open(self.file()).unwrap();
        let there = chunks_with_data(&file);
        let nothing = vec![0; CHUNK_BYTES];
        for number in there.iter().chain(contents.keys().filter(|number| !there.contains(number))) {
            let wanted = contents.get(number).unwrap_or(&nothing);
            if read_chunk(&file, *number) != *wanted {
                file.write_all_at(wanted, number * CHUNK_BYTES as u64).unwrap();
            }
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Fills it until about so many bytes are free.
    pub(crate) fn fill_up_to(&self, free_bytes: u64) {
        let filler = std::fs::File::create(self.path().join("filler")).unwrap();
        let free = super::free_bytes(&self.path()).unwrap();
        let bytes = free.saturating_sub(free_bytes);
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
        filler.sync_all().unwrap();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.device));
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| e.to_string())?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// The chunks of a sparse file that are no holes.
fn chunks_with_data(file: &std::fs::File) -> BTreeSet<u64> {
    use rustix::fs::{SeekFrom, seek};
    let mut chunks = BTreeSet::new();
    let mut at = 0;
    while let Ok(start) = seek(file, SeekFrom::Data(at)) {
        at = seek(file, SeekFrom::Hole(start)).unwrap();
        chunks.extend(start / CHUNK_BYTES as u64..at.div_ceil(CHUNK_BYTES as u64));
    }
    chunks
}

fn read_chunk(file: &std::fs::File, number: u64) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut chunk = vec![0; CHUNK_BYTES];
    file.read_exact_at(&mut chunk, number * CHUNK_BYTES as u64).unwrap();
    chunk
}

/// Copies a file so that its pieces lie apart on the device: each is written with one in between that is taken out
/// again.
pub(crate) fn copy_in_pieces(from: &Path, to: &Path, piece_bytes: usize) {
    use std::os::unix::fs::FileExt;
    let (piece, bytes) = (piece_bytes as u64, std::fs::read(from).unwrap());
    let file = std::fs::File::create(to).unwrap();
    for (number, part) in (0_u64..).zip(bytes.chunks(piece_bytes)) {
        file.write_all_at(&[part, &vec![0x55; piece_bytes]].concat(), 2 * number * piece).unwrap();
    }
    file.sync_all().unwrap();
    for number in 1..bytes.len().div_ceil(piece_bytes) as u64 {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::COLLAPSE_RANGE, number * piece, piece).unwrap();
    }
    file.set_len(bytes.len() as u64).unwrap();
    file.sync_all().unwrap();
    assert!(std::fs::read(to).unwrap() == bytes);
}
