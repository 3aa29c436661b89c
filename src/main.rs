//! aftercast.
fn main() {}
