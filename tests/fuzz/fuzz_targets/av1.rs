//! libFuzzer's entry to [`targets::elements::av1`].
#![no_main]

#[path = "../targets.rs"]
#[allow(dead_code, reason = "each binary uses one of the targets")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::elements::av1(bytes));
