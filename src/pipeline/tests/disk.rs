//! A disk for recordings that can be made what it was, number of every file included, and what a power cut left of it.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::crash::{Crash, FillState, NameChange};
use super::recording::{Act, Files, Inode, RecordedAct, files_below, inode_of};
use crate::durable::InPlaceEditor;
use crate::durable::image::{Contents, Image};

/// Size of the disk; the recordings are short.
const DISK_MB: u64 = 16;

/// A mounted ext4 and a state directory beside it.
pub(super) struct Disk {
    image: Image,
    state: tempfile::TempDir,
}

/// How a disk and the state directory stand.
#[derive(Clone)]
pub(super) struct DiskState {
    image: Rc<Contents>,
    pub(super) state: Rc<Files>,
}

impl Disk {
    /// `None` where none can be mounted; the reason is printed.
    pub(super) fn new() -> Option<Self> {
        let image = Image::mount("ext4", DISK_MB, &[])?;
        fs::create_dir(image.path().join("root")).unwrap();
        Some(Self { image, state: tempfile::tempdir().unwrap() })
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> PathBuf {
        self.image.path()
    }

    /// Where the recordings are.
    pub(super) fn root(&self) -> PathBuf {
        self.image.path().join("root")
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.state.path().join("state")
    }

    /// How everything stands now; nobody may have a file open.
    pub(super) fn standing(&self) -> DiskState {
        self.image.unmount();
        let image = Rc::new(self.image.contents());
        self.image.mount_again();
        DiskState { image, state: Rc::new(files_below(&self.state_dir())) }
    }

    /// Makes the disk what it was, with a state directory of one's own.
    fn reset(&self, standing: &DiskState, state: &Files) {
        self.image.unmount();
        self.image.restore(&standing.image);
        self.image.mount_again();
        let _ = fs::remove_dir_all(self.state_dir());
        for (path, bytes) in state {
            let path = self.state_dir().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &**bytes).unwrap();
        }
        if !state.is_empty() {
            // The database expects it, empty as it may be.
            fs::create_dir_all(self.state_dir().join("catalog/blobs")).unwrap();
        }
    }

    /// Makes everything what the power cut left of it.
    pub(super) fn leave(&self, standing: &DiskState, log: &[RecordedAct], crash: &Crash) {
        self.reset(standing, &crash.state);
        let mut places: BTreeMap<Inode, PathBuf> = BTreeMap::new();
        for path in files_below(&self.root()).keys() {
            let path = self.root().join(path);
            places.insert(inode_of(&path), path);
        }
        for (place, done) in log[..crash.at].iter().enumerate() {
            let has = |name| crash.names.contains(&(place, name));
            match (has(NameChange::Given), has(NameChange::GivenUp), &done.act) {
                (true, gives_up, act) => self.name(act, gives_up || !crosses(act), &mut places),
                (false, true, Act::Renamed(from, _)) => fs::remove_file(self.path().join(from)).unwrap(),
                _ => {}
            }
        }
        for (inode, changes) in &crash.changes {
            let Some(path) = places.get(inode).filter(|path| path.exists()) else { continue };
            let open = InPlaceEditor::open(path).unwrap();
            for change in changes {
                open.perform(change.operation()).unwrap();
            }
            if let Some(len) = crash.shortened.get(inode) {
                open.perform(crate::durable::InPlaceOp::Truncate { len: *len }).unwrap();
            }
        }
        for (inode, (fill, bytes, mtime_ns)) in &crash.fills {
            if let Some(path) = places.get(inode).filter(|path| path.exists()) {
                put(path, *fill, bytes, *mtime_ns);
            }
        }
    }

    fn name(&self, act: &Act, gives_up: bool, places: &mut BTreeMap<Inode, PathBuf>) {
        let on_disk = |path: &Path| self.path().join(path);
        let has_parent = |path: &Path| on_disk(path).parent().is_some_and(Path::is_dir);
        match act {
            Act::Created(path, inode) if has_parent(path) => {
                create_as(&on_disk(path), *inode);
                places.insert(*inode, on_disk(path));
            }
            Act::DirectoryCreated(path) if has_parent(path) => fs::create_dir(on_disk(path)).unwrap(),
            Act::Linked(from, to) if on_disk(from).exists() => fs::hard_link(on_disk(from), on_disk(to)).unwrap(),
            Act::Renamed(from, to) if on_disk(from).exists() => {
                places.insert(inode_of(&on_disk(from)), on_disk(to));
                match (has_parent(to), gives_up) {
                    (true, true) => fs::rename(on_disk(from), on_disk(to)).unwrap(),
                    (true, false) => fs::hard_link(on_disk(from), on_disk(to)).unwrap(),
                    // Into a directory that is lost.
                    (false, _) => fs::remove_file(on_disk(from)).unwrap(),
                }
            }
            Act::Removed(path) if on_disk(path).exists() => fs::remove_file(on_disk(path)).unwrap(),
            _ => {}
        }
    }
}

/// Whether an act takes a file from one directory to another.
fn crosses(act: &Act) -> bool {
    matches!(act, Act::Renamed(from, to) if from.parent() != to.parent())
}

/// Creates a file that has a certain number: the journal knows it by that.
fn create_as(path: &Path, inode: Inode) {
    let mut others = Vec::new();
    loop {
        File::create(path).unwrap();
        if inode_of(path) == inode {
            break;
        }
        assert!(others.len() < 64, "no file gets number {inode} here");
        let other = path.with_file_name(format!("other{}", others.len()));
        fs::rename(path, &other).unwrap();
        others.push(other);
    }
    for other in others {
        fs::remove_file(other).unwrap();
    }
}

fn put(path: &Path, fill: FillState, bytes: &[u8], mtime_ns: i64) {
    let half = bytes.len() / 2;
    let bytes = match fill {
        FillState::Whole => bytes.to_vec(),
        FillState::Zeros => vec![0; bytes.len()],
        FillState::Half => [&bytes[..half], &vec![0; bytes.len() - half]].concat(),
        FillState::Empty => Vec::new(),
    };
    fs::write(path, bytes).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(mtime_ns.unsigned_abs());
    let open = File::options().write(true).open(path).unwrap();
    open.set_times(FileTimes::new().set_modified(time)).unwrap();
}
