//! The file system shut down for real in the middle of the protocol: the log flushed or not, as a power cut leaves it.
//!
//! A second thread does it at a random moment while a file of hundreds or thousands of extents is spliced in place (XFS
//! moves one in a transaction, ext4 a leaf of its tree, 340 of them). Then it is mounted again, and the file is mended twice, each time from the same remains: by the journal's intent, and by its bytes alone.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;
use crate::durable::image::Contents;
use crate::durable::{FileEvent, InPlaceOp, recorder};
use crate::finish::splice::by_bytes::{ByteRecovery, put_back_by_bytes};
use crate::finish::splice::recover::{SpliceRecovery, moved_from, recover};
use crate::recording::SpliceIntent;

/// `FS_IOC_SHUTDOWN`, on XFS `XFS_IOC_GOINGDOWN`: `_IOR('X', 125, __u32)`.
const SHUTDOWN: u64 = 0x8004_587D;
/// What becomes of the log: flushed, or not.
const HOW: [u32; 2] = [1, 2];
/// Cuts of each file system where time is short.
const FEW: u64 = 12;
const MANY: u64 = 200;
/// The block of both file systems, bytes.
const BLOCK_BYTES: u64 = 4096;

#[expect(unsafe_code, reason = "no safe wrapper offers FS_IOC_SHUTDOWN")]
fn shut_down(directory: &File, how: u32) {
    // SAFETY: the directory is open; the kernel reads the four bytes of `how` only.
    let answer = unsafe { libc::ioctl(directory.as_raw_fd(), SHUTDOWN as libc::Ioctl, &raw const how) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

/// Fills a disk so that of its free blocks no two lie together: whatever is written next has an extent for each.
fn leave_every_other_block(image: &Image, free_bytes: u64) {
    use rustix::fs::{FallocateFlags, fallocate};
    // The holes that are made hold what is free; what is free besides lies together, and little of it is left.
    image.fill_up_to((256 << 10) + free_bytes / 64);
    let filler = File::options().write(true).open(image.path().join("filler")).unwrap();
    for hole in 0..free_bytes / BLOCK_BYTES {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&filler, how, 2 * hole * BLOCK_BYTES, BLOCK_BYTES).unwrap();
    }
    filler.sync_all().unwrap();
}

fn append_tail(path: &Path, bytes: u32) {
    use std::io::{Read, Write};
    if bytes > 0 {
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(&[&bytes.to_be_bytes()[..], b"free"].concat()).unwrap();
        std::io::copy(&mut std::io::repeat(1).take(u64::from(bytes) - 8), &mut file).unwrap();
    }
}

/// Where the cut fell, by what it left.
fn fell(path: &Path, intent: &SpliceIntent) -> &'static str {
    let len = durable::fingerprint(path).unwrap().size_bytes;
    match moved_from(&intent.extents, &extents_of(path), intent.inserted_bytes) {
        Ok(None) if len == intent.before.size_bytes => "before the insert",
        Ok(None) | Err(_) => "at its beginning",
        Ok(Some(0)) => "behind it",
        Ok(Some(_)) => "inside it",
    }
}

/// A pseudorandom number that depends on nothing but its place.
fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33
}

/// A disk with one file in thousands of pieces on it.
struct ScatteredFile {
    image: Image,
    path: PathBuf,
    before: Holdings,
    standing: Contents,
    /// How long it takes to the end of the insert, and in all.
    inserts: Duration,
    takes: Duration,
}

impl ScatteredFile {
    /// With so much of a box behind the recording that means nothing: more extents, of which none holds a packet.
    fn make(kind: &str, size_mb: u64, recipe: &str, tail_bytes: u32) -> Option<Self> {
        let options: &[&str] = if kind == "ext4" { &["-m", "0"] } else { &[] };
        let image = Image::mount(kind, size_mb, options)?;
        let (source, path) = (made(recipe), image.path().join("cut.mp4"));
        if kind == "ext4" {
            leave_every_other_block(
                &image,
                std::fs::metadata(&source).unwrap().len() + u64::from(tail_bytes) + (2 << 20),
            );
            std::fs::copy(source, &path).unwrap();
            append_tail(&path, tail_bytes);
        } else {
            image::copy_in_pieces(&source, &path, 32 << 10);
        }
        settle(&path);
        let extents = extents_of(&path).len();
        assert!(extents > 200, "{kind}: only {extents} extents");
        image.unmount();
        let standing = image.contents();
        image.mount_again();
        let before = holdings(&path);
        let mut pieces = Self { image, path, before, standing, inserts: Duration::ZERO, takes: Duration::ZERO };
        let (_, inserts, takes) = pieces.spliced(None);
        println!("{kind}, {recipe}: {extents} extents, {inserts:?} to the end of the insert, {takes:?} in all");
        (pieces.inserts, pieces.takes) = (inserts, takes);
        Some(pieces)
    }

    fn reset(&self, standing: &Contents) {
        self.image.unmount();
        self.image.restore(standing);
        self.image.mount_again();
    }

    /// Splices it in place; the file system is shut down after a while. How long the insert took, and all of it.
    fn spliced(&self, cut: Option<(Duration, u32)>) -> (SpliceIntent, Duration, Duration) {
        let inspection = inspect(&self.path).unwrap();
        let prepared = prepared(&self.path, &inspection);
        let intent = prepared.intent.clone();
        let directory = File::open(self.image.path()).unwrap();
        let ready = std::sync::Barrier::new(1 + usize::from(cut.is_some()));
        let inserted = Rc::new(Cell::new(Duration::ZERO));
        let mut all = Duration::ZERO;
        std::thread::scope(|scope| {
            let (ready, directory) = (&ready, &directory);
            cut.map(|(after, how)| {
                scope.spawn(move || {
                    ready.wait();
                    let begun = Instant::now();
                    while begun.elapsed() < after {
                        std::hint::spin_loop();
                    }
                    shut_down(directory, how);
                })
            });
            ready.wait();
            let begun = Instant::now();
            let hears = Rc::clone(&inserted);
            let listener = move |event: &FileEvent<'_>, _: &'static std::panic::Location<'static>| {
                if matches!(event, FileEvent::Changed(_, InPlaceOp::Insert { .. })) {
                    hears.set(begun.elapsed());
                }
            };
            let _ = recorder::listen(Box::new(listener), || prepared.perform());
            all = begun.elapsed();
        });
        (intent, inserted.get(), all)
    }

    /// One cut, and both ways to mend what it left; where it fell.
    fn cut(&self, number: u64) -> &'static str {
        self.reset(&self.standing);
        // Two of three in the second half of the insert: before, the kernel writes back and forgets what it holds of the file.
        let share = f64::from(u32::try_from(scattered(number) % 1000).unwrap()) / 1000.0;
        let is_anywhere = number.is_multiple_of(3);
        let after = if is_anywhere { self.takes.mul_f64(share) } else { self.inserts.mul_f64(0.4 + 0.6 * share) };
        let how = HOW[usize::try_from(number).unwrap() % HOW.len()];
        let (intent, ..) = self.spliced(Some((after, how)));
        self.image.unmount();
        // The log is played back by the first mount.
        self.image.mount_again();
        let fell = fell(&self.path, &intent);
        self.image.unmount();
        let remains = self.image.contents();
        self.image.mount_again();
        let when = format!("cut {number} ({after:?}, flag {how}) fell {fell}");

        let recovered = recover(&intent).unwrap();
        assert!(matches!(recovered, SpliceRecovery::AsBefore | SpliceRecovery::Finished), "{when}: {recovered:?}");
        assert!(holdings(&self.path) == self.before, "{when}: {recovered:?}, and the packets are not the same");
        let wanted = if recovered == SpliceRecovery::Finished { intent.after } else { intent.before };
        assert_eq!(durable::fingerprint(&self.path).unwrap(), wanted, "{when}");

        self.reset(&remains);
        let mended = put_back_by_bytes(&self.path).unwrap();
        assert_ne!(mended, ByteRecovery::Unclear, "{when}");
        assert!(holdings(&self.path) == self.before, "{when}: {mended:?} by bytes, and the packets are not the same");
        fell
    }
}

fn is_proof() -> bool {
    std::env::var("AFTERCAST_PROOF").is_ok_and(|how_much| how_much == "all")
}

#[test]
fn a_file_system_that_is_shut_down_at_any_moment_of_it_gives_the_recording_back() {
    let cuts = if is_proof() { MANY } else { FEW };
    for (kind, size_mb) in [("ext4", 96), ("xfs", 320)] {
        let mut all = std::collections::BTreeMap::new();
        for (recipe, numbers) in [("large", 0..cuts / 2), ("large fragmented", cuts / 2..cuts)] {
            let Some(pieces) = ScatteredFile::make(kind, size_mb, recipe, 0) else { continue };
            for number in numbers {
                *all.entry(pieces.cut(number)).or_insert(0) += 1;
            }
        }
        println!("{kind}: {cuts} shutdowns: {all:?}");
    }
}

/// Most shutdowns that are tried until one falls inside the insert.
const TRIES: u64 = 400;

/// ext4 moves what lies behind the insert in a millisecond, 340 extents at a time: few cuts fall between two of its steps.
#[test]
fn a_shutdown_inside_the_insert_of_ext4_gives_the_recording_back() {
    if !is_proof() {
        println!("skipped: it takes minutes; AFTERCAST_PROOF=all runs it");
        return;
    }
    // As many extents as a file may have to be finished in place.
    let Some(pieces) = ScatteredFile::make("ext4", 256, "large", 50 << 20) else { return };
    let mut all = std::collections::BTreeMap::new();
    let falls_inside = (1..=TRIES).filter(|number| !number.is_multiple_of(3)).any(|number| {
        let fell = pieces.cut(number);
        *all.entry(fell).or_insert(0) += 1;
        fell == "inside it"
    });
    println!("ext4: shutdowns: {all:?}");
    assert!(falls_inside, "{all:?}");
}
