//! What integration tests stand on: real servers on loopback, and a tap to see what is said to them.

pub mod assets;
pub mod stores;
pub mod tap;
