//! Where a path of a process in another mount namespace (a container) is seen from here: by the mounts of both.
//!
//! Pure over the text of `/proc/PID/mountinfo`. What it returns is only a candidate: the caller looks whether it is the same
//! directory.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

struct Mount {
    device: String,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

/// Where `path` of the other side may be here, the most likely first.
pub(super) fn candidates(theirs: &str, ours: &str, path: &Path) -> Vec<PathBuf> {
    // Of two mounts on one directory the later one is seen.
    let over = mounts(theirs).into_iter().filter(|mount| path.starts_with(&mount.point));
    let Some(theirs) = over.max_by_key(|mount| mount.point.components().count()) else { return Vec::new() };
    let Ok(below) = path.strip_prefix(&theirs.point) else { return Vec::new() };
    let inside = theirs.root.join(below);
    let of_ours = mounts(ours).into_iter().filter(|mount| mount.device == theirs.device);
    let mut found: Vec<PathBuf> =
        of_ours.filter_map(|mount| Some(joined(&mount.point, inside.strip_prefix(&mount.root).ok()?))).collect();
    found.sort_by_key(|path| path.components().count());
    found.dedup();
    found
}

fn joined(directory: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { directory.to_owned() } else { directory.join(below) }
}

/// `36 35 98:0 /root /point options… - type source options`, with blanks as `\040`.
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Mount { device: device.to_owned(), root: unescaped(root), point: unescaped(point) })
    };
    text.lines().filter_map(mount).collect()
}

fn unescaped(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let (mut path, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    let path = OsString::from_vec(path);
    debug_assert!(!path.as_bytes().contains(&0));
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:17 / /srv rw - xfs /dev/sdb1 rw
31 22 0:50 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
32 22 8:17 /media /mnt/with\\040space rw - xfs /dev/sdb1 rw
";

    #[test]
    fn a_volume_of_a_container_is_found_by_its_file_system() {
        let theirs = "\
90 80 0:50 / / rw - overlay overlay rw
91 90 8:1 /home/op/rec /recordings rw - ext4 /dev/sda1 rw
92 90 8:17 /media/live /live rw - xfs /dev/sdb1 rw
93 90 0:99 / /proc rw - proc proc rw
";
        let first = |path: &str| candidates(theirs, OURS, Path::new(path)).first().cloned();
        assert_eq!(first("/recordings/cam1"), Some("/home/op/rec/cam1".into()));
        assert_eq!(first("/recordings"), Some("/home/op/rec".into()));
        assert_eq!(
            first("/opt/x"),
            Some("/var/lib/docker/overlay2/x/merged/opt/x".into()),
            "in the container's own layer"
        );
        assert_eq!(
            candidates(theirs, OURS, Path::new("/live")),
            [PathBuf::from("/srv/media/live"), PathBuf::from("/mnt/with space/live")]
        );
        assert_eq!(first("/proc/1"), None, "not mounted here");
    }

    #[test]
    fn odd_lines_mean_nothing() {
        assert!(candidates("", OURS, Path::new("/x")).is_empty());
        assert!(candidates("1 2\nx", OURS, Path::new("/x")).is_empty());
    }
}
