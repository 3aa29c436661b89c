//! A file system of a known kind in a file, mounted over a loop device; needs root.

use std::path::PathBuf;
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

    /// Leaves the free space in small pieces only, so that whatever is written lies in many extents.
    pub(super) fn shatter(&self) {
        self.fill_up_to(10 << 20);
        let small = |n: u32| self.path().join(format!("small{n}"));
        let mut made = 0;
        let piece = vec![0x55; 32 << 10];
        loop {
            let before = made;
            while std::fs::write(small(made), &piece).is_ok() {
                made += 1;
            }
            // What was set aside for metadata and not needed is free only then.
            rustix::fs::sync();
            if made == before {
                break;
            }
        }
        (0..made).step_by(2).for_each(|n| std::fs::remove_file(small(n)).unwrap());
        rustix::fs::sync();
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
