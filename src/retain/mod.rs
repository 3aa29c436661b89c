//! What may be freed locally.

mod options;

pub use options::*;
