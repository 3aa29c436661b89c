//! Integration tests, one binary: linking FFmpeg once is enough.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod architecture;
