//! The system calls that a decoder may make (`seccomp(2)`): those that computing, reading the recording and answering take.
//! Anything else is refused with `EPERM`: opening a file, a socket, starting or signalling another process.
//!
//! Holds on x86-64 and `AArch64` where the kernel has seccomp. Elsewhere the limits of `limits` hold alone.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::fault::chain;

/// Confines this process for good. False where that cannot be done.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn confine() -> bool {
    let Ok(programs) = filter::programs() else { return false };
    programs.iter().all(|program| seccompiler::apply_filter(program).is_ok())
}

/// There is no filter for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn confine() -> bool {
    false
}

/// Whether a process can be confined here, or why not: tried with a filter that allows everything, by a thread that ends with it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub fn is_possible() -> Result<(), String> {
    let tried = || {
        let program = filter::harmless().map_err(|error| chain(&error))?;
        seccompiler::apply_filter(&program).map_err(|error| chain(&error))
    };
    // A filter holds for its thread and those that it starts.
    let thread = std::thread::Builder::new().name("seccomp".into()).spawn(tried).map_err(|error| chain(&error))?;
    thread.join().unwrap_or_else(|_| Err("the thread that tried it panicked".to_owned()))
}

/// Whether a process can be confined here, or why not.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn is_possible() -> Result<(), String> {
    Err("there is no filter for this processor".to_owned())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filter {
    use std::collections::BTreeMap;

    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    #[cfg(target_arch = "x86_64")]
    const ARCH: TargetArch = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    const ARCH: TargetArch = TargetArch::aarch64;

    /// Calls that are allowed whatever their arguments. Files and sockets that are open stay usable.
    const ALLOWED: &[libc::c_long] = &[
        // Memory.
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        // Files that are open.
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_fstat,
        libc::SYS_lseek,
        libc::SYS_pread64,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_statx,
        libc::SYS_write,
        libc::SYS_writev,
        // Threads of its own and their locks.
        libc::SYS_clone3,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_membarrier,
        libc::SYS_rseq,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        // Time.
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_gettimeofday,
        libc::SYS_nanosleep,
        libc::SYS_restart_syscall,
        // Signals that it handles, and what it asks about itself.
        libc::SYS_getrandom,
        libc::SYS_getrusage,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_sysinfo,
        libc::SYS_uname,
    ];

    /// The filters, in the order in which they are put in force: behind the second no more can be.
    pub(super) fn programs() -> Result<Vec<BpfProgram>, BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        // A thread, not a process.
        let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
        rules.insert(libc::SYS_clone, vec![argument(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
        // How a process aborts: it signals itself, and nobody else.
        rules.insert(libc::SYS_tgkill, vec![argument(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?]);
        // Another descriptor of an open file. Leases and signals are set by the same call.
        let duplicate = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL].map(libc::c_int::unsigned_abs);
        let duplicate = duplicate.map(|command| argument(1, SeccompCmpOp::Eq, command.into()));
        rules.insert(libc::SYS_fcntl, duplicate.into_iter().collect::<Result<_, _>>()?);
        let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let allowed = SeccompFilter::new(rules, refused, SeccompAction::Allow, ARCH)?;
        // The arguments of clone3 lie in memory, where a filter cannot look: without it the C library takes clone.
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let no_clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, missing, ARCH)?;
        [no_clone3, allowed].into_iter().map(BpfProgram::try_from).collect()
    }

    /// A filter that answers a call that nobody makes, and allows all others.
    pub(super) fn harmless() -> Result<BpfProgram, BackendError> {
        let none = BTreeMap::from([(i64::from(u16::MAX), Vec::new())]);
        let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        SeccompFilter::new(none, SeccompAction::Allow, refused, ARCH)?.try_into()
    }

    fn argument(number: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
        SeccompRule::new(vec![SeccompCondition::new(number, SeccompCmpArgLen::Dword, op, value)?])
    }
}
