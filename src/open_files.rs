//! How many files this process may have open at once, sockets among them.
//!
//! Service managers and shells set a soft limit of 1,024, for the sake of programs that use select(2), and a far higher hard limit. Of a
//! process at its limit no recording can be opened, so that nobody who connects to it may bring it there.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit. Returns what holds then.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it is refused, what was allowed before holds.
    let _ = setrlimit(Resource::Nofile, raised);
    limit_now()
}

/// How many there may be.
pub fn limit_now() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
