//! A file of ours that is being written aside: known by its descriptor alone until it is complete.
//!
//! Where the file system has files without a name (`O_TMPFILE`), nobody can reach it, a killed process leaves nothing, and it
//! gets a name when it is complete and durable. Elsewhere it has its name from the beginning. The name holds the random id of
//! the state directory, so that two processes never write the same file. Everything goes through the descriptor:
//! what others do to the name changes what the name stands for, never what is written.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

use super::beneath::{OpenDirectory, open_directory};
use super::{FileError, FileEvent, Result, step, tell};
use crate::recording::Fingerprint;

/// Every partial of ours begins with this; such names are never candidates.
pub const PARTIAL_PREFIX: &str = ".aftercast-";
const PARTIAL_SUFFIX: &str = ".partial";
/// Hexadecimal digits that stand for the final name: partials of long names must not be too long for the file system.
const NAME_DIGITS: usize = 16;

/// Who writes partials: the id of a state directory, so that what a killed process left is cleared away by its successor and by
/// nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialOwner(String);

impl PartialOwner {
    /// The owner with this id, letters and digits.
    pub fn new(id: &str) -> Self {
        Self(id.chars().filter(char::is_ascii_alphanumeric).take(16).collect())
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.0
    }

    /// An owner that has no state directory: what it leaves when it is killed is cleared away by nobody.
    pub fn of_process() -> Self {
        Self::new(&random_id())
    }

    /// This owner's name for a partial beside a final name. The same every time: a reservation of the final name that a power cut
    /// took away must not keep the next attempt from what the last one left.
    fn name_beside(&self, final_path: &Path, purpose: PartialPurpose) -> PathBuf {
        let name = final_path.file_name().unwrap_or_default().as_encoded_bytes();
        let digest = blake3::hash(&[name, purpose.mark()].concat()).to_hex();
        final_path.with_file_name(format!("{PARTIAL_PREFIX}{}-{}{PARTIAL_SUFFIX}", self.0, &digest[..NAME_DIGITS]))
    }
}

/// What a partial is for; one recording may need one of each at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartialPurpose {
    /// It becomes the finished file.
    Finished,
    /// It is read and thrown away.
    Scratch,
}

impl PartialPurpose {
    const ALL: [Self; 2] = [Self::Finished, Self::Scratch];

    const fn mark(self) -> &'static [u8] {
        match self {
            Self::Finished => b"",
            Self::Scratch => b"/scratch",
        }
    }
}

/// 64 random bits in hexadecimal digits.
pub fn random_id() -> String {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut random| io::Read::read_exact(&mut random, &mut bytes));
    // In a root without devices time and process tell processes apart.
    if read.is_err() {
        let seed = format!("{} {:?}", std::process::id(), std::time::SystemTime::now());
        bytes.copy_from_slice(&blake3::hash(seed.as_bytes()).as_bytes()[..8]);
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// Whether a file name is one of our partials, of whatever owner or version.
pub fn is_partial(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(PARTIAL_PREFIX.as_bytes()) && name.ends_with(PARTIAL_SUFFIX.as_bytes())
}

/// A file of ours that is being written aside, in the directory of its final name.
///
/// Dropped before [`Partial::seal`], it is removed; what a killed process leaves is cleared away by [`remove_partials`].
#[derive(Debug)]
pub struct Partial {
    file: File,
    /// Where it is written: a path that leads to the descriptor.
    path: PathBuf,
    /// Its name, or the one that it gets when it is complete.
    name: PathBuf,
    has_name: bool,
}

impl Partial {
    /// Creates an empty partial for a final name, in place of one that an earlier attempt of this owner left behind.
    pub fn create(final_path: &Path, owner: &PartialOwner) -> Result<Self> {
        Self::make(final_path, owner.name_beside(final_path, PartialPurpose::Finished))
    }

    /// Creates a file beside a recording that is read and thrown away.
    pub fn scratch(beside: &Path, owner: &PartialOwner) -> Result<Self> {
        Self::make(beside, owner.name_beside(beside, PartialPurpose::Scratch))
    }

    fn make(beside: &Path, name: PathBuf) -> Result<Self> {
        let failed = |error: io::Error| FileError::on("create a file in", directory_of(beside))(error);
        let (file, has_name) = match nameless(directory_of(beside)).map_err(failed)? {
            Some(file) => (file, false),
            None => (named(&name).map_err(failed)?, true),
        };
        Self::of(file, name, has_name).map_err(failed)
    }

    fn of(file: File, name: PathBuf, has_name: bool) -> io::Result<Self> {
        let path = descriptor_path(&file).or_else(|| has_name.then(|| name.clone())).ok_or(Errno::NOENT)?;
        if has_name {
            tell(FileEvent::Created(&name));
        }
        step("partial created");
        Ok(Self { file, path, name, has_name })
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of a small file at once.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        io::Write::write_all(&mut self.file, bytes).map_err(FileError::on("write", &self.path))
    }

    /// Gives it the owner, mode and time of the file it comes from where that is allowed, makes it durable, and gives it a name if
    /// it has none.
    ///
    /// What could not be kept of the owner is returned in words, for one warning.
    #[track_caller]
    pub fn seal(mut self, like: &Metadata) -> Result<SealedPartial> {
        let failed = |verb| FileError::on(verb, &self.path);
        let not_kept = keep_attributes(&self.file, like);
        self.file.sync_all().map_err(failed("sync"))?;
        let written = Fingerprint::of(&self.file.metadata().map_err(failed("read the metadata of"))?);
        if !self.has_name {
            self.link().map_err(FileError::on("name a file in", directory_of(&self.name)))?;
            tell(FileEvent::Created(&self.name));
        }
        tell(FileEvent::Synced(&self.name));
        step("partial synced");
        self.has_name = false;
        Ok(SealedPartial { path: std::mem::take(&mut self.name), fingerprint: written, not_kept })
    }

    /// Gives a file without a name its own; what an earlier attempt left under it goes.
    fn link(&self) -> io::Result<()> {
        let (directory, last) = OpenDirectory::of(&self.name)?;
        in_place_of_the_last(&self.name, || {
            linkat(CWD, &self.path, &directory, last, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.has_name && is_name_of(&self.name, &self.file) {
            let _ = super::unlink(&self.name);
        }
    }
}

/// Takes a name of ours, which only an earlier attempt of this owner can have.
fn in_place_of_the_last<T>(name: &Path, take: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match take() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            super::unlink(name)?;
            take()
        }
        other => other,
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file without a name; `None` where there is none, or where it could not be reached by its descriptor.
fn nameless(directory: &Path) -> io::Result<Option<File>> {
    let directory = open_directory(directory, OFlags::PATH)?;
    match openat(&directory, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let file = File::from(file);
            Ok(descriptor_path(&file).is_some().then_some(file))
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn named(name: &Path) -> io::Result<File> {
    let (directory, last) = OpenDirectory::of(name)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    in_place_of_the_last(name, || directory.open_file(last, flags, Mode::RUSR | Mode::WUSR))
}

/// The path that leads to an open file, where `/proc` is mounted.
fn descriptor_path(file: &File) -> Option<PathBuf> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let (by_path, by_descriptor) = (fs::metadata(&path).ok()?, file.metadata().ok()?);
    Fingerprint::of(&by_path).same_file(&Fingerprint::of(&by_descriptor)).then_some(path)
}

fn is_name_of(name: &Path, file: &File) -> bool {
    let now = super::fingerprint(name);
    now.is_ok_and(|now| file.metadata().is_ok_and(|ours| Fingerprint::of(&ours).same_file(&now)))
}

/// A complete, synced file under its partial name.
#[derive(Debug)]
pub struct SealedPartial {
    /// Where it stands.
    pub path: PathBuf,
    /// Its fingerprint, which the rename does not change.
    pub fingerprint: Fingerprint,
    /// Attributes of the source that could not be kept, in words.
    pub not_kept: Option<String>,
}

/// Removes what a killed process of this owner left aside for a final name; also what the versions before 0.2 called it.
pub fn remove_partials(final_path: &Path, owner: &PartialOwner) -> Result<()> {
    let own = PartialPurpose::ALL.map(|purpose| owner.name_beside(final_path, purpose));
    own.iter().chain([&former_name(final_path)]).try_for_each(|name| super::remove(name))
}

/// Removes everything that an owner has left aside in a directory, for whatever final names. Nobody may write in its name any more.
pub fn remove_all_partials(directory: &Path, owner: &PartialOwner) -> Result<()> {
    let failed = |error: io::Error| FileError::on("read", directory)(error);
    let prefix = format!("{PARTIAL_PREFIX}{}-", owner.0);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if is_partial(&name) && name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
            super::remove(&directory.join(name))?;
        }
    }
    Ok(())
}

fn former_name(final_path: &Path) -> PathBuf {
    let mut name = OsString::from(PARTIAL_PREFIX);
    name.push(final_path.file_name().unwrap_or_default());
    name.push(PARTIAL_SUFFIX);
    final_path.with_file_name(name)
}

/// Keeps owner, group, mode and mtime; where the owner is not allowed, the group; never an error.
fn keep_attributes(file: &File, like: &Metadata) -> Option<String> {
    use std::os::unix::fs::fchown;
    let owner = fchown(file, Some(like.uid()), Some(like.gid()));
    let group = owner.as_ref().err().map(|_| fchown(file, None, Some(like.gid())));
    // A mode without the group it was meant for could open the file to strangers: drop the group's bits then.
    let keeps_group = !matches!(group, Some(Err(_)));
    let mode = if keeps_group { like.mode() & 0o7777 } else { like.mode() & 0o7707 };
    let mode = file.set_permissions(Permissions::from_mode(mode));
    let times = like.modified().and_then(|mtime| file.set_times(FileTimes::new().set_modified(mtime)));
    let mut not_kept = Vec::new();
    not_kept.extend(owner.is_err().then_some(if keeps_group { "owner" } else { "owner and group" }));
    not_kept.extend(mode.is_err().then_some("mode"));
    not_kept.extend(times.is_err().then_some("modification time"));
    (!not_kept.is_empty()).then(|| not_kept.join(", "))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(dir: &Path) -> Vec<OsString> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    fn like() -> Metadata {
        fs::metadata("/proc/self/exe").unwrap()
    }

    /// A partial as a file system without nameless files gets it.
    fn with_name(final_path: &Path, owner: &PartialOwner) -> Partial {
        let name = owner.name_beside(final_path, PartialPurpose::Finished);
        Partial::of(named(&name).unwrap(), name, true).unwrap()
    }

    fn write(partial: &Partial, text: &str) {
        fs::OpenOptions::new().write(true).open(partial.path()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_partial_that_is_not_sealed_leaves_nothing() {
        let (dir, owner) = (tempfile::tempdir().unwrap(), PartialOwner::new("a"));
        let path = dir.path().join("x.mp4");
        drop(Partial::create(&path, &owner).unwrap());
        let partial = with_name(&path, &owner);
        assert!(is_partial(&names(dir.path())[0]));
        drop(partial);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn two_owners_of_one_final_name_write_files_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mp4");
        let make: [fn(&Path, &PartialOwner) -> Partial; 2] =
            [|path, owner| Partial::create(path, owner).unwrap(), with_name];
        for make in make {
            let (a, b) = (make(&path, &PartialOwner::new("a")), make(&path, &PartialOwner::new("b")));
            write(&a, "a");
            write(&b, "b");
            let (a, b) = (a.seal(&like()).unwrap(), b.seal(&like()).unwrap());
            assert_eq!((fs::read(&a.path).unwrap(), fs::read(&b.path).unwrap()), (b"a".to_vec(), b"b".to_vec()));
            remove_partials(&path, &PartialOwner::new("a")).unwrap();
            assert!(!a.path.exists() && b.path.exists(), "only the own one is cleared away");
            super::super::remove(&b.path).unwrap();
        }
    }

    #[test]
    fn what_stands_in_the_place_of_a_partial_is_neither_written_nor_published_nor_removed() {
        let (dir, owner) = (tempfile::tempdir().unwrap(), PartialOwner::new("a"));
        let (path, victim) = (dir.path().join("x.mp4"), dir.path().join("victim"));
        fs::write(&victim, "secret").unwrap();
        let swap = |name: &Path| {
            fs::remove_file(name).unwrap();
            std::os::unix::fs::symlink(&victim, name).unwrap();
        };
        let partial = with_name(&path, &owner);
        let name = partial.name.clone();
        swap(&name);
        write(&partial, "media");
        drop(partial);
        assert!(fs::symlink_metadata(&name).unwrap().is_symlink(), "not ours to remove");
        fs::remove_file(&name).unwrap();

        let partial = Partial::create(&path, &owner).unwrap();
        write(&partial, "media");
        let sealed = partial.seal(&like()).unwrap();
        swap(&sealed.path);
        assert!(super::super::publish(&sealed.path, &path, &sealed.fingerprint).is_err());
        assert!(fs::symlink_metadata(&path).is_err(), "nothing has the final name");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
    }

    #[test]
    fn the_longest_final_name_has_room_for_a_partial() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{}.mp4", "x".repeat(251)));
        let sealed = Partial::create(&path, &PartialOwner::new("a")).unwrap().seal(&like()).unwrap();
        super::super::publish(&sealed.path, &path, &sealed.fingerprint).unwrap().durably().unwrap();
        assert_eq!(names(dir.path()), [path.file_name().unwrap()]);
    }

    #[test]
    fn what_one_owner_left_in_a_directory_is_cleared_away_and_nothing_of_another() {
        let dir = tempfile::tempdir().unwrap();
        for owner in ["t1", "t1", "t10", "t2"] {
            let path = dir.path().join(format!("{owner}.mp4"));
            std::mem::forget(with_name(&path, &PartialOwner::new(owner)));
        }
        fs::write(dir.path().join(".aftercast-t1-x"), "").unwrap();
        remove_all_partials(dir.path(), &PartialOwner::new("t1")).unwrap();
        assert_eq!(names(dir.path()).len(), 3, "{:?}", names(dir.path()));
    }

    #[test]
    fn what_an_older_version_left_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mp4");
        fs::write(dir.path().join(former_name(&path)), "").unwrap();
        fs::write(dir.path().join(".aftercast-y.mp4.partial"), "").unwrap();
        remove_partials(&path, &PartialOwner::new("a")).unwrap();
        assert_eq!(names(dir.path()), [".aftercast-y.mp4.partial"]);
    }

    #[test]
    fn the_next_attempt_takes_the_place_of_what_the_last_one_left() {
        let (dir, owner) = (tempfile::tempdir().unwrap(), PartialOwner::new("a"));
        let path = dir.path().join("x.mp4");
        for text in ["first", "second"] {
            let partial = Partial::create(&path, &owner).unwrap();
            write(&partial, text);
            let sealed = partial.seal(&like()).unwrap();
            assert_eq!(fs::read_to_string(&sealed.path).unwrap(), text);
        }
        std::mem::forget(with_name(&path, &owner));
        assert_eq!(names(dir.path()).len(), 1);
        let (finished, scratch) = (with_name(&path, &owner), Partial::scratch(&path, &owner).unwrap());
        write(&scratch, "scratch");
        assert_eq!(fs::read(finished.path()).unwrap(), b"");
        drop((finished, scratch));
        assert!(names(dir.path()).is_empty());
    }
}
