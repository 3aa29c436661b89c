//! A file system of a known kind in a file, mounted over a loop device; needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted image; unmounted when dropped.
pub(super) struct Image {
    dir: tempfile::TempDir,
}

impl Image {
    /// Makes and mounts a file system; says why not where that is impossible.
    pub(super) fn mount(kind: &str, size_mb: u64, options: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(size_mb << 20).unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        let made = run(Command::new(format!("mkfs.{kind}")).arg("-q").args(options).arg(&image));
        let mounted =
            made.and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(dir.path().join("mnt"))));
        match mounted {
            Ok(()) => Some(Self { dir }),
            Err(why) => {
                println!("skipped: no {kind} image here: {why}");
                None
            }
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// Fills it until about so many bytes are free.
    pub(super) fn fill_up_to(&self, free_bytes: u64) {
        let filler = std::fs::File::create(self.path().join("filler")).unwrap();
        let free = crate::durable::free_bytes(&self.path()).unwrap();
        let bytes = free.saturating_sub(free_bytes);
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
        filler.sync_all().unwrap();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

/// Copies a file so that its pieces lie apart on the device: each is written with one in between that is taken out
/// again.
pub(super) fn copy_in_pieces(from: &Path, to: &Path) {
    use std::os::unix::fs::FileExt;
    const PIECE_BYTES: usize = 64 << 10;
    let (piece, bytes) = (PIECE_BYTES as u64, std::fs::read(from).unwrap());
    let file = std::fs::File::create(to).unwrap();
    for (number, part) in (0_u64..).zip(bytes.chunks(PIECE_BYTES)) {
        file.write_all_at(&[part, &vec![0x55; PIECE_BYTES]].concat(), 2 * number * piece).unwrap();
    }
    file.sync_all().unwrap();
    for number in 1..bytes.len().div_ceil(PIECE_BYTES) as u64 {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::COLLAPSE_RANGE, number * piece, piece).unwrap();
    }
    file.set_len(bytes.len() as u64).unwrap();
    file.sync_all().unwrap();
    assert!(std::fs::read(to).unwrap() == bytes);
}
