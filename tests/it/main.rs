//! Integration tests, one binary: linking FFmpeg once is enough.
<<<<<<< HEAD

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod architecture;
=======
#![expect(
    clippy::unwrap_used,
    reason = "a test that fails says where, and clippy's exception for tests does not reach their helpers"
)]

#[path = "../support/mod.rs"]
mod support;

mod deliver_azure;
mod deliver_gcs;
mod deliver_s3;
>>>>>>> room/deliver
