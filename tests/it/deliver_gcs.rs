//! Delivery over Google's XML interface, as far as `rclone serve s3` speaks it: no checksums, no authentication.

use crate::support::assets::{MIB, asset, targets, upload, write_noise};
use crate::support::stores::gcs;

#[test]
fn a_small_and_a_large_file_arrive_and_are_adopted() {
    let server = gcs();
    let targets = targets(server.bucket("sizes"));
    let dir = tempfile::tempdir().unwrap();
    for (name, len) in [("a/five.mp4", 5 * MIB), ("forty.mp4", 40 * MIB + 3)] {
        write_noise(dir.path(), name, len, 1);
        let asset = asset(dir.path(), name, &[name]);
        let object = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((object.key.as_str(), object.size_bytes), (format!("pre/{name}").as_str(), len as u64));
        // rclone has no x-goog-hash, but an entity tag that is the MD5 of the file.
        assert!(object.checksum_compared, "{object:?}");
        let again = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((again.key, again.checksum_compared), (object.key, true));
    }
}

#[test]
fn the_doctor_finds_everything_allowed() {
    let server = gcs();
    let checks = targets(server.bucket("doctor")).probe("cloud").unwrap();
    assert!(checks.iter().all(|c| c.ok), "{checks:?}");
}
