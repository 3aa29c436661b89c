//! The table that every call of FFmpeg jumps through, and what fills it.

use std::arch::{global_asm, naked_asm};
use std::error::Error as _;
use std::ffi::{c_uint, c_void};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{io, ptr};

use ffmpeg_next::ffi::{
    LIBAVCODEC_VERSION_MAJOR, LIBAVCODEC_VERSION_MINOR, LIBAVFORMAT_VERSION_MAJOR, LIBAVFORMAT_VERSION_MINOR,
    LIBAVUTIL_VERSION_MAJOR, LIBAVUTIL_VERSION_MINOR, LIBSWSCALE_VERSION_MAJOR, LIBSWSCALE_VERSION_MINOR,
};
use libloading::Library;

use super::places::{self, LibrarySource, Wanted};
use super::symbols::{LIBRARIES, SYMBOLS};
use crate::fault::chain;

/// The size of a page on x86-64, by which the table is aligned and filled up.
const PAGE_BYTES: usize = 4_096;

global_asm!(include_str!(concat!(env!("OUT_DIR"), "/late.s")));

// SAFETY: the assembler defines it (`build.rs`): one pointer for each of SYMBOLS, written through atomics alone.
unsafe extern "C" {
    #[link_name = "aftercast_late_table"]
    safe static TABLE: [AtomicPtr<c_void>; SYMBOLS.len()];
}

/// Loads FFmpeg, once per process; what is not there may be there the next time.
pub(in crate::media::ffi) fn ready() -> Result<(), String> {
    static LOADED: OnceLock<()> = OnceLock::new();
    // One thread fills the table: a second one would write to it when it is read-only already.
    static LOADS: Mutex<()> = Mutex::new(());
    if LOADED.get().is_none() {
        let _alone = LOADS.lock().unwrap_or_else(PoisonError::into_inner);
        if LOADED.get().is_none() {
            load()?;
            LOADED.get_or_init(|| ());
        }
    }
    Ok(())
}

/// Nothing is entered unless everything is found.
fn load() -> Result<(), String> {
    let wanted = LIBRARIES.map(wanted);
    let place = LibrarySource::of_this_program(&wanted)?;
    let libraries = wanted.iter().map(|library| open(&place, *library)).collect::<Result<Vec<_>, _>>()?;
    let found =
        SYMBOLS.iter().map(|(library, name)| find(&libraries[*library], name)).collect::<Result<Vec<_>, _>>()?;
    for (entry, address) in TABLE.iter().zip(found) {
        entry.store(address, Ordering::Release);
    }
    if let Err(error) = protect() {
        tracing::warn!(
            error = chain(&error),
            "cannot make the table of FFmpeg's functions read-only; FFmpeg works without this protection"
        );
    }
    Ok(())
}

/// Makes the table read-only: whoever can write to memory through a fault elsewhere finds no function pointers here.
fn protect() -> io::Result<()> {
    let length = size_of_val(&TABLE).next_multiple_of(PAGE_BYTES);
    let start = ptr::from_ref(&TABLE).cast_mut().cast();
    // SAFETY: the assembler gives the table pages of its own (`build.rs`), and nothing is entered after this call.
    if unsafe { libc::mprotect(start, length, libc::PROT_READ) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether FFmpeg can be loaded as far as names of files tell; loads it only if they say that it is missing.
pub(in crate::media::ffi) fn present() -> Result<(), String> {
    let wanted = LIBRARIES.map(wanted);
    let is_there = match LibrarySource::of_this_program(&wanted)? {
        LibrarySource::Beside(_) => true,
        LibrarySource::System => places::are_in(&places::of_the_loader(), &wanted),
    };
    if is_there { Ok(()) } else { ready() }
}

fn wanted(name: &'static str) -> Wanted {
    Wanted { name, major: built_for(name).0 }
}

/// Major and minor version of the headers that the bindings were made from.
fn built_for(name: &str) -> (u32, u32) {
    match name {
        "avutil" => (LIBAVUTIL_VERSION_MAJOR.unsigned_abs(), LIBAVUTIL_VERSION_MINOR.unsigned_abs()),
        "avcodec" => (LIBAVCODEC_VERSION_MAJOR.unsigned_abs(), LIBAVCODEC_VERSION_MINOR.unsigned_abs()),
        "avformat" => (LIBAVFORMAT_VERSION_MAJOR.unsigned_abs(), LIBAVFORMAT_VERSION_MINOR.unsigned_abs()),
        _ => (LIBSWSCALE_VERSION_MAJOR.unsigned_abs(), LIBSWSCALE_VERSION_MINOR.unsigned_abs()),
    }
}

/// The library of the version that the bindings were made for. It is never unloaded: others may hold its functions.
fn open(place: &LibrarySource, wanted: Wanted) -> Result<ManuallyDrop<Library>, String> {
    let name = match place {
        LibrarySource::Beside(directory) => directory.join(wanted.soname()),
        LibrarySource::System => wanted.soname().into(),
    };
    // SAFETY: it is the library that the program would be bound to otherwise, and the loader would run the same
    // initialisers before `main`. Beside the program it is one that only root and the program's owner can change.
    let library = unsafe { Library::new(name) };
    let library = library
        .map(ManuallyDrop::new)
        .map_err(|error| places::lacking(wanted, &places::of_the_loader(), &in_words(&error)))?;
    let version = version(&library, wanted.name)?;
    places::differing(wanted, built_for(wanted.name).1, version).map_or(Ok(library), Err)
}

/// What a library says of itself: structures of another major version are laid out differently, whatever the file is called.
fn version(library: &Library, name: &str) -> Result<u32, String> {
    let function = format!("{name}_version");
    // SAFETY: every version of these libraries has it with this type (`unsigned avformat_version(void)`).
    let function = unsafe { library.get::<unsafe extern "C" fn() -> c_uint>(function) };
    // SAFETY: takes nothing and returns a constant.
    function.map(|function| unsafe { function() }).map_err(|error| in_words(&error))
}

fn find(library: &Library, name: &str) -> Result<*mut c_void, String> {
    // SAFETY: the address is only entered in the table; callers take its type from the bindings, as the linker would.
    let symbol = unsafe { library.get::<*mut c_void>(name) };
    symbol.map(|symbol| *symbol).map_err(|error| in_words(&error))
}

/// The loader's own words, which name the library.
fn in_words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The first call of a function: loads FFmpeg with the arguments put aside, and goes on to the function.
///
/// Every door of this room has asked [`ready`] before, so this is for a door that forgot.
extern "C" fn load_or_end() {
    if let Err(error) = ready() {
        tracing::error!(error, "cannot load the FFmpeg libraries; exiting, no recording is lost");
        std::process::abort();
    }
}

/// Where an entry leads at first; the number of the entry lies on the stack. The arguments of the System V calling
/// convention (six registers, eight vector registers, `al`) are kept, and the stack is aligned for a call.
// SAFETY: no other symbol has this name. The code is entered by a jump from the assembler alone, keeps every register that
// may hold an argument, and leaves the stack as it found it but for the number that it takes off.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn aftercast_late_first() {
    naked_asm!(
        "push rax", "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9",
        "sub rsp, 136",
        "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
        "call {load}",
        "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
        "add rsp, 136",
        "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi", "pop rax",
        "pop r11",
        "lea r10, [rip + aftercast_late_table]",
        "jmp qword ptr [r10 + 8 * r11]",
        load = sym load_or_end,
    );
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::Range;

    use super::*;

    /// The mappings of this process: their addresses and their rights.
    fn mappings() -> Vec<(Range<usize>, String)> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mapping = |line: &str| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let address = |text| usize::from_str_radix(text, 16).unwrap();
            (address(start)..address(end), rest[..4].to_owned())
        };
        maps.lines().map(mapping).collect()
    }

    #[test]
    fn the_table_of_functions_is_read_only_once_it_is_filled() {
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| ready().unwrap()))));
        let start = ptr::from_ref(&TABLE).addr();
        let end = start + size_of_val(&TABLE);
        assert_eq!(start % PAGE_BYTES, 0, "the table shares its first page with other data");
        let of_table =
            mappings().into_iter().filter(|(range, _)| range.start < end && start < range.end).collect::<Vec<_>>();
        assert!(!of_table.is_empty());
        assert!(of_table.iter().all(|(_, rights)| rights == "r--p"), "{of_table:x?}");
    }
}
