//! Where FFmpeg's libraries are: beside the program, else where the system's loader looks.
//!
//! A package for any distribution brings its own, smaller FFmpeg in `../lib/aftercast` beside the directory of the program.
//! Code from there runs with all rights of this process, so only files that nobody but root and the owner of the program can
//! change are taken. Nothing is loaded here.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{env, io};

use crate::printable::Printable;

/// A library of the version that the bindings were made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Without `lib` and version: `avformat`.
    pub name: &'static str,
    /// Its major version, which is its binary interface.
    pub major: u32,
}

impl Wanted {
    /// The name that the loader knows it by.
    pub(super) fn soname(self) -> String {
        format!("lib{}.so.{}", self.name, self.major)
    }
}

/// Where all libraries are loaded from; never some from here and some from there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LibrarySource {
    /// The directory beside the program.
    Beside(PathBuf),
    /// Wherever the system's loader finds them.
    System,
}

impl LibrarySource {
    /// The directory beside the program if it has the libraries, else the system. The error says why the directory may not be
    /// used although it is there: to load others silently would hide what is wrong with the installation.
    pub(super) fn of_this_program(wanted: &[Wanted]) -> Result<Self, String> {
        // A link to the program is followed: its libraries are beside the program, not beside the link.
        let Ok(program) = env::current_exe() else { return Ok(Self::System) };
        Self::beside(&program, wanted)
    }

    fn beside(program: &Path, wanted: &[Wanted]) -> Result<Self, String> {
        let Some(prefix) = program.parent().and_then(Path::parent) else { return Ok(Self::System) };
        let directory = prefix.join("lib/aftercast");
        let files: Vec<_> = wanted.iter().map(|library| directory.join(library.soname())).collect();
        let Some(file) = files.iter().find(|file| fs::symlink_metadata(file).is_ok()) else { return Ok(Self::System) };
        let owner = fs::metadata(program).map_err(|error| cannot_use(file, &error.to_string()))?.uid();
        let directories = [prefix.join("lib"), directory.clone()];
        for path in &directories {
            let metadata = fs::symlink_metadata(path);
            safe(path, metadata, Metadata::is_dir, owner)?;
        }
        // Every file: a library may load another one of the directory.
        let all = fs::read_dir(&directory).map_err(|error| cannot_use(&directory, &error.to_string()))?;
        for path in all.flatten().map(|entry| entry.path()).chain(files) {
            safe(&path, fs::symlink_metadata(&path), Metadata::is_file, owner)?;
        }
        Ok(Self::Beside(directory))
    }
}

/// Whether nobody but root and the owner of the program can change it.
fn safe(
    path: &Path,
    metadata: io::Result<Metadata>,
    is_right_kind: fn(&Metadata) -> bool,
    owner: u32,
) -> Result<(), String> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let metadata = metadata.map_err(|error| cannot_use(path, &error.to_string()))?;
    let why = if !is_right_kind(&metadata) {
        "it is a link or a special file".to_owned()
    } else if metadata.uid() != 0 && metadata.uid() != owner {
        format!("it belongs to user {}, neither to root nor to the owner of the program", metadata.uid())
    } else if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        format!("mode {:04o}: other users can change it; run `chmod go-w` on it", metadata.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(cannot_use(path, &why))
}

fn cannot_use(path: &Path, why: &str) -> String {
    format!("the FFmpeg libraries beside the program cannot be used: `{}`: {why}", Printable::path(path))
}

/// Whether every library is in one of these directories. Says nothing about whether it can be loaded.
pub(super) fn are_in(directories: &[PathBuf], wanted: &[Wanted]) -> bool {
    wanted.iter().all(|library| directories.iter().any(|directory| directory.join(library.soname()).exists()))
}

/// What to say of a library that could not be loaded: the version that this program needs, and those that are installed.
pub(super) fn lacking(library: Wanted, directories: &[PathBuf], loader: &str) -> String {
    let soname = library.soname();
    let mut text = format!("{loader}; this program was built for {soname}{}", of_ffmpeg(library.name, library.major));
    let majors = majors_in(directories, library.name);
    if majors.is_empty() {
        text.push_str(", and no version of it is installed");
        return text;
    }
    text.push_str(", and installed is ");
    for (n, major) in majors.into_iter().enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}lib{}.so.{major}{}", library.name, of_ffmpeg(library.name, major));
    }
    text
}

/// What to say of a library that calls itself another version than its name, or is older than the bindings.
pub(super) fn differing(library: Wanted, least_minor: u32, version: u32) -> Option<String> {
    let (major, minor) = (version >> 16, version >> 8 & 0xFF);
    let is_right = major == library.major && minor >= least_minor;
    (!is_right).then(|| {
        format!(
            "this program was built for lib{name} {}.{least_minor}{}, and {} is version {major}.{minor}{}",
            library.major,
            of_ffmpeg(library.name, library.major),
            library.soname(),
            of_ffmpeg(library.name, major),
            name = library.name,
        )
    })
}

/// The FFmpeg release that a library's major version belongs to. From FFmpeg 4 to 8 each release raised every library by one.
fn of_ffmpeg(name: &str, major: u32) -> String {
    let of_ffmpeg_4 = match name {
        "avutil" => 56,
        "swscale" => 5,
        _ => 58,
    };
    match major.checked_sub(of_ffmpeg_4) {
        Some(later) if later <= 4 => format!(" (FFmpeg {})", later + 4),
        _ => String::new(),
    }
}

fn majors_in(directories: &[PathBuf], name: &str) -> BTreeSet<u32> {
    let beginning = format!("lib{name}.so.");
    let major = |file: &OsStr| file.to_str()?.strip_prefix(&beginning)?.split('.').next()?.parse().ok();
    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    entries.filter_map(|entry| major(&entry.file_name())).collect()
}

/// Where the system's loader looks, as far as ld.so(8) says it in files that can be read: only used for messages and to find out
/// cheaply that nothing is missing.
pub(super) fn of_the_loader() -> Vec<PathBuf> {
    let listed = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    listed_in(Path::new("/etc/ld.so.conf"), &mut found, MOST_NESTED);
    found.extend(["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(PathBuf::from));
    found
}

/// How many files `include` may lead through.
const MOST_NESTED: usize = 4;

/// The directories that a configuration of ldconfig(8) lists; of patterns only `DIR/*.conf`, which all distributions use.
fn listed_in(file: &Path, found: &mut Vec<PathBuf>, nested: usize) {
    let Ok(text) = fs::read_to_string(file) else { return };
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let Some(included) = line.strip_prefix("include ") else {
            found.extend((!line.is_empty()).then(|| PathBuf::from(line)));
            continue;
        };
        let directory = Path::new(included.trim()).parent().unwrap_or(Path::new("/"));
        let directory = file.parent().unwrap_or(Path::new("/")).join(directory);
        let Some(nested) = nested.checked_sub(1) else { continue };
        let mut files: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "conf")) {
            listed_in(file, found, nested);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const FORMAT: Wanted = Wanted { name: "avformat", major: 59 };
    const CODEC: Wanted = Wanted { name: "avcodec", major: 59 };

    /// `PREFIX/bin/aftercast` with both libraries beside it; the modes do not depend on the umask.
    fn installed() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let prefix = tempfile::tempdir().unwrap();
        let (bin, lib) = (prefix.path().join("bin"), prefix.path().join("lib/aftercast"));
        for directory in [&bin, &lib] {
            fs::create_dir_all(directory).unwrap();
            mode(directory, 0o755);
        }
        mode(&prefix.path().join("lib"), 0o755);
        let files = [bin.join("aftercast"), lib.join(FORMAT.soname()), lib.join(CODEC.soname())];
        for file in &files {
            fs::write(file, "").unwrap();
            mode(file, 0o644);
        }
        let [program, ..] = files;
        (prefix, program, lib)
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn libraries_beside_the_program_come_before_the_system_s() {
        let (_prefix, program, lib) = installed();
        assert_eq!(LibrarySource::beside(&program, &[FORMAT, CODEC]), Ok(LibrarySource::Beside(lib.clone())));
        fs::remove_dir_all(&lib).unwrap();
        assert_eq!(LibrarySource::beside(&program, &[FORMAT, CODEC]), Ok(LibrarySource::System));
    }

    #[test]
    fn a_directory_of_another_program_s_libraries_is_not_ours() {
        let (_prefix, program, lib) = installed();
        let other = Wanted { name: "avformat", major: 61 };
        mode(&lib, 0o777);
        assert_eq!(
            LibrarySource::beside(&program, &[other]),
            Ok(LibrarySource::System),
            "nothing of it would be loaded"
        );
    }

    #[test]
    fn what_others_can_change_is_not_loaded() {
        type Change = fn(&Path);
        let cases: [(&str, Change); 6] = [
            ("mode 0777", |lib| mode(lib, 0o777)),
            ("mode 0775", |lib| mode(lib.parent().unwrap(), 0o775)),
            ("mode 0666", |lib| mode(&lib.join(CODEC.soname()), 0o666)),
            ("mode 0646", |lib| {
                // A library that the others load.
                fs::write(lib.join("libswresample.so.4"), "").unwrap();
                mode(&lib.join("libswresample.so.4"), 0o646);
            }),
            ("a link", |lib| {
                fs::remove_file(lib.join(CODEC.soname())).unwrap();
                symlink("/tmp/other.so", lib.join(CODEC.soname())).unwrap();
            }),
            ("No such file", |lib| fs::remove_file(lib.join(CODEC.soname())).unwrap()),
        ];
        for (why, change) in cases {
            let (_prefix, program, lib) = installed();
            change(&lib);
            let error = LibrarySource::beside(&program, &[FORMAT, CODEC]).unwrap_err();
            assert!(error.contains(why) && error.contains("lib"), "{why}: {error}");
        }
    }

    #[test]
    fn another_owner_than_root_and_the_program_s_is_refused() {
        let (_prefix, program, _lib) = installed();
        let owner = fs::metadata(&program).unwrap().uid();
        let check = |owner| safe(&program, fs::metadata(&program), Metadata::is_file, owner);
        assert_eq!(check(owner), Ok(()));
        if owner != 0 {
            assert!(check(owner + 1).unwrap_err().contains(&format!("belongs to user {owner}")));
        }
    }

    #[test]
    fn the_version_that_is_needed_and_those_that_are_installed_are_both_named() {
        let (_prefix, _program, lib) = installed();
        for name in ["libavformat.so.61", "libavformat.so.61.7.100", "libavformat.so.58", "libavformat.so", "notes"] {
            fs::write(lib.join(name), "").unwrap();
        }
        let wanted = Wanted { name: "avformat", major: 60 };
        assert!(!are_in(std::slice::from_ref(&lib), &[wanted]) && are_in(std::slice::from_ref(&lib), &[FORMAT, CODEC]));
        let said = lacking(wanted, std::slice::from_ref(&lib), "cannot open shared object file");
        assert_eq!(
            said,
            "cannot open shared object file; this program was built for libavformat.so.60 (FFmpeg 6), and installed is \
             libavformat.so.58 (FFmpeg 4), libavformat.so.59 (FFmpeg 5), libavformat.so.61 (FFmpeg 7)"
        );
        let said = lacking(Wanted { name: "avutil", major: 70 }, &[lib], "cannot open");
        assert_eq!(said, "cannot open; this program was built for libavutil.so.70, and no version of it is installed");
    }

    #[test]
    fn a_library_that_is_not_what_its_name_says_is_refused() {
        let version = |major: u32, minor: u32| major << 16 | minor << 8 | 0x64;
        assert_eq!(differing(FORMAT, 27, version(59, 27)), None);
        assert_eq!(differing(FORMAT, 27, version(59, 30)), None, "a later one of the same interface");
        let said = differing(FORMAT, 27, version(60, 30)).unwrap();
        assert_eq!(
            said,
            "this program was built for libavformat 59.27 (FFmpeg 5), and libavformat.so.59 is version 60.30 (FFmpeg 6)"
        );
        assert!(differing(FORMAT, 27, version(59, 16)).unwrap().contains("59.16"));
    }

    #[test]
    fn the_loader_s_directories_are_read_with_what_is_included() {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("ld.so.conf.d")).unwrap();
        let main = etc.path().join("ld.so.conf");
        fs::write(&main, "/opt/a # first\n\ninclude ld.so.conf.d/*.conf\n").unwrap();
        fs::write(etc.path().join("ld.so.conf.d/b.conf"), format!("# b\n/opt/b\ninclude {}\n", main.display()))
            .unwrap();
        fs::write(etc.path().join("ld.so.conf.d/ignored"), "/opt/c\n").unwrap();
        let mut found = Vec::new();
        listed_in(&main, &mut found, 1);
        assert_eq!(found, ["/opt/a", "/opt/b"].map(PathBuf::from), "and a circle ends");
    }
}
