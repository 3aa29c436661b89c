//! How the process's memory is taken from the system.

/// Blocks from this size on are taken from the system one by one, and given back when they are freed, bytes.
#[cfg(target_env = "gnu")]
const LARGE_BLOCK_BYTES: libc::c_int = 512 << 10;

/// Has large blocks (headers, sample tables) go back to the system as soon as they are freed.
///
/// By itself glibc raises that limit to 32 MiB once a large block was freed, and keeps what is freed later in the arena of the
/// thread that had it: a recording of six hours then holds 20 MiB that nobody uses any more (mallopt(3)).
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no safe wrapper offers mallopt")]
pub(super) fn give_back_large_blocks() {
    // SAFETY: called first thing in the process, while there is one thread. It changes where later blocks come from, nothing
    // else; if it is refused, memory is taken as usual.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES) };
}

/// Other C libraries do so by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back_large_blocks() {}
