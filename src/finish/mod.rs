//! Decides what a recording needs and produces the finished file.

mod options;

pub use options::*;
