//! Object stores.

mod options;

pub use options::*;
