//! A second file from the bytes of a first: shared with it, copied inside the kernel, or read and written.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{FileError, Partial, Result, step};

/// Bytes read and written at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// `FICLONERANGE` of `<linux/fs.h>`: `_IOW(0x94, 13, struct file_clone_range)`.
const CLONE_RANGE: u64 = 0x4020_940D;

/// `struct file_clone_range`.
#[repr(C)]
struct CloneRange {
    source: i64,
    source_offset: u64,
    length: u64,
    offset: u64,
}

/// Writes `head` and then ranges of another file into an existing partial, read and written by this process.
pub fn copy_ranges(from: &Path, to: &Path, head: &[u8], ranges: &[Range<u64>]) -> Result<()> {
    let (mut source, mut target) = open(from, to, head)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    for range in ranges {
        source.seek(SeekFrom::Start(range.start)).map_err(FileError::on("read", from))?;
        let mut left = range.end - range.start;
        while left > 0 {
            crate::stop::check();
            let wanted = usize::try_from(left).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let read = source.read(&mut buffer[..wanted]).map_err(FileError::on("read", from))?;
            if read == 0 {
                return Err(ends_early(from));
            }
            target.write_all(&buffer[..read]).map_err(FileError::on("write", to))?;
            left -= read as u64;
        }
    }
    step("partial written");
    Ok(())
}

/// Copied by one call, which nothing can cut short.
const KERNEL_COPY_BYTES: usize = 64 << 20;

/// Writes `head` and then ranges of another file into an existing partial, copied inside the kernel
/// (`copy_file_range`). Says whether the kernel can do that between these two files.
pub fn copy_ranges_in_kernel(from: &Path, to: &Path, head: &[u8], ranges: &[Range<u64>]) -> Result<bool> {
    let (source, target) = open(from, to, head)?;
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            crate::stop::check();
            let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(KERNEL_COPY_BYTES);
            match rustix::fs::copy_file_range(&source, Some(&mut at), &target, None, wanted) {
                Ok(0) => return Err(ends_early(from)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => return Ok(false),
                Err(e) => return Err(FileError::on("copy into", to)(e.into())),
            }
        }
    }
    step("partial written");
    Ok(true)
}

/// Writes `head`, whose length is a multiple of the block, and puts the whole other file behind it without copying:
/// both share its blocks (`FICLONERANGE`). Says whether the file system can do that.
pub fn share_behind(from: &Path, to: &Path, head: &[u8]) -> Result<bool> {
    let (source, target) = open(from, to, head)?;
    let shared = clone_range(&source, &target, head.len() as u64);
    match shared.map_err(|e| (Errno::from_io_error(&e), e)) {
        Ok(()) => {
            step("partial written");
            Ok(true)
        }
        Err((Some(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::PERM | Errno::NOSYS), _)) => {
            Ok(false)
        }
        Err((_, source)) => Err(FileError::on("share blocks with", to)(source)),
    }
}

/// Puts other bytes in places of one of our own partials, and ends it at `len` bytes.
pub fn overwrite(partial: &Partial, patches: &[(u64, Vec<u8>)], len: u64) -> Result<()> {
    let path = partial.path();
    let file = super::open_regular(path, OFlags::WRONLY).map_err(FileError::on("open", path))?;
    for (at, bytes) in patches {
        file.write_all_at(bytes, *at).map_err(FileError::on("write", path))?;
    }
    file.set_len(len).map_err(FileError::on("write", path))
}

#[expect(unsafe_code, reason = "no safe wrapper offers FICLONERANGE")]
fn clone_range(source: &File, target: &File, offset: u64) -> io::Result<()> {
    // A length of 0 means: to the end.
    let range = CloneRange { source: source.as_raw_fd().into(), source_offset: 0, length: 0, offset };
    // SAFETY: both files are borrowed and open; the kernel only reads `range`, which is laid out as its header says.
    let answer = unsafe { libc::ioctl(target.as_raw_fd(), CLONE_RANGE as libc::Ioctl, &raw const range) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn open(from: &Path, to: &Path, head: &[u8]) -> Result<(File, File)> {
    let source = super::open_to_read(from)?;
    let target = super::open_regular(to, OFlags::WRONLY | OFlags::TRUNC);
    let mut target = target.map_err(FileError::on("open", to))?;
    target.write_all(head).map_err(FileError::on("write", to))?;
    Ok((source, target))
}

fn ends_early(path: &Path) -> FileError {
    FileError::on("copy all of", path)(io::ErrorKind::UnexpectedEof.into())
}
