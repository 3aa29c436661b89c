//! Where the bytes of a file lie on its device (`FIEMAP`): what tells, after a cut, how far blocks were moved.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Extents of a file in ascending order: byte offset in the file, byte offset on the device, length in bytes.
pub type Extents = Vec<[u64; 3]>;

/// Most extents that are read; a file in more pieces is not changed in place.
pub const MAX_EXTENTS: usize = 16_384;

/// `FS_IOC_FIEMAP` of `<linux/fs.h>`: `_IOWR('f', 11, struct fiemap)`, its header being 32 bytes long.
const FIEMAP: u64 = 0xC020_660B;
/// `FIEMAP_FLAG_SYNC` of `<linux/fiemap.h>`.
const SYNC: u32 = 1;
/// `FIEMAP_EXTENT_LAST`.
const LAST: u32 = 0x1;
/// Extents whose place is not settled, not whole blocks, or not this file's alone: `UNKNOWN`, `DELALLOC`, `ENCODED`,
/// `DATA_ENCRYPTED`, `NOT_ALIGNED`, `DATA_INLINE`, `DATA_TAIL`, `SHARED`.
const UNSETTLED: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000;
/// Extents asked for at a time.
const AT_A_TIME: usize = 256;

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap` with room for extents behind it.
#[repr(C)]
struct FiemapRequest {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [FiemapExtent; AT_A_TIME],
}

/// Reads the extents of a file; `None` if there are too many or one of them is not settled.
pub(super) fn read(file: &File) -> io::Result<Option<Extents>> {
    let mut all = Extents::new();
    let mut start = 0;
    loop {
        let found = ask(file, start)?;
        for extent in &found {
            if extent.flags & UNSETTLED != 0 || all.len() >= MAX_EXTENTS {
                return Ok(None);
            }
            all.push([extent.logical, extent.physical, extent.length]);
            start = extent.logical.saturating_add(extent.length);
        }
        if found.last().is_none_or(|last| last.flags & LAST != 0) {
            return Ok(Some(all));
        }
    }
}

#[expect(unsafe_code, reason = "no safe wrapper offers FIEMAP")]
fn ask(file: &File, start: u64) -> io::Result<Vec<FiemapExtent>> {
    let mut request = FiemapRequest {
        start,
        length: u64::MAX - start,
        flags: SYNC,
        mapped: 0,
        room: u32::try_from(AT_A_TIME).unwrap_or_default(),
        reserved: 0,
        extents: [FiemapExtent::default(); AT_A_TIME],
    };
    // SAFETY: the file is borrowed and open; the kernel reads and writes `request` only, which is laid out as the
    // header says and has room for as many extents as it states.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP as libc::Ioctl, &raw mut request) };
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    let mapped = usize::try_from(request.mapped).unwrap_or(0).min(AT_A_TIME);
    Ok(request.extents[..mapped].to_vec())
}
