//! Which files exist, what changed, and whether anybody is still writing.

mod options;

pub use options::*;
