//! Integration tests, one binary: linking FFmpeg once is enough.
#![expect(
    clippy::unwrap_used,
    reason = "a test that fails says where, and clippy's exception for tests does not reach their helpers"
)]

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod deliver_azure;
mod deliver_gcs;
mod deliver_s3;
mod kill;
mod salvage;
