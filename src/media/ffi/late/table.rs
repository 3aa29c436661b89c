//! The table that every call of FFmpeg jumps through, and what fills it.

use std::arch::{global_asm, naked_asm};
use std::error::Error as _;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use ffmpeg_next::ffi::{
    LIBAVCODEC_VERSION_MAJOR, LIBAVFORMAT_VERSION_MAJOR, LIBAVUTIL_VERSION_MAJOR, LIBSWSCALE_VERSION_MAJOR,
};
use libloading::Library;

use super::symbols::{LIBRARIES, SYMBOLS};

global_asm!(include_str!(concat!(env!("OUT_DIR"), "/late.s")));

unsafe extern "C" {
    #[link_name = "aftercast_late_table"]
    safe static TABLE: [AtomicPtr<c_void>; SYMBOLS.len()];
}

/// Loads FFmpeg, once per process; what is not there may be there the next time.
pub(in crate::media::ffi) fn ready() -> Result<(), String> {
    static LOADED: OnceLock<()> = OnceLock::new();
    if LOADED.get().is_none() {
        load()?;
        LOADED.get_or_init(|| ());
    }
    Ok(())
}

/// Nothing is entered unless everything is found.
fn load() -> Result<(), String> {
    let libraries = LIBRARIES.iter().map(|name| open(name)).collect::<Result<Vec<_>, _>>()?;
    let found =
        SYMBOLS.iter().map(|(library, name)| find(&libraries[*library], name)).collect::<Result<Vec<_>, _>>()?;
    for (entry, address) in TABLE.iter().zip(found) {
        entry.store(address, Ordering::Release);
    }
    Ok(())
}

/// The library of the version that the bindings were made for. It is never unloaded: others may hold its functions.
fn open(name: &str) -> Result<ManuallyDrop<Library>, String> {
    let major = match name {
        "avutil" => LIBAVUTIL_VERSION_MAJOR,
        "avcodec" => LIBAVCODEC_VERSION_MAJOR,
        "avformat" => LIBAVFORMAT_VERSION_MAJOR,
        _ => LIBSWSCALE_VERSION_MAJOR,
    };
    // SAFETY: it is the library that the program would be bound to otherwise, and the loader would run the same
    // initialisers before `main`.
    let library = unsafe { Library::new(format!("lib{name}.so.{major}")) };
    library.map(ManuallyDrop::new).map_err(|error| in_words(&error))
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
        tracing::error!(error, "FFmpeg's libraries cannot be loaded; the process ends. No recording is lost.");
        std::process::abort();
    }
}

/// Where an entry leads at first; the number of the entry lies on the stack. The arguments of the System V calling
/// convention (six registers, eight vector registers, `al`) are kept, and the stack is aligned for a call.
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
