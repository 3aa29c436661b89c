//! Fragments (ISO/IEC 14496-12 §8.8).

pub(super) mod trex;
