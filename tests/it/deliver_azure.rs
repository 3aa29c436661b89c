//! Delivery to an Azure emulator.

use aftercast::deliver::Cause;

use crate::support::assets::{MIB, asset, targets, upload, write_noise};
use crate::support::stores::azure;

#[test]
fn a_small_and_a_large_file_arrive_with_a_compared_checksum_and_are_adopted() {
    let server = azure();
    let targets = targets(server.container("sizes"));
    let dir = tempfile::tempdir().unwrap();
    for (name, len, algorithm) in [("a/five.mp4", 5 * MIB, "md5:"), ("forty.mp4", 40 * MIB + 3, "crc64nvme-by-part:")] {
        write_noise(dir.path(), name, len, 1);
        let asset = asset(dir.path(), name, &[name]);
        let object = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((object.key.as_str(), object.size_bytes), (format!("pre/{name}").as_str(), len as u64));
        assert!(object.checksum_compared, "{object:?}");
        assert!(object.checksum.as_ref().unwrap().starts_with(algorithm), "{object:?}");
        let again = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((again.key, again.etag), (object.key, object.etag));
    }
}

#[test]
fn other_content_under_the_key_gets_a_number() {
    let server = azure();
    let targets = targets(server.container("numbers"));
    let dir = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    for (seed, len) in [(1, 1000), (2, 1000), (3, 20 * MIB), (4, 20 * MIB)] {
        write_noise(dir.path(), "x.mp4", len, seed);
        keys.push(upload(&targets, &asset(dir.path(), &seed.to_string(), &["x.mp4"])).unwrap().remove(0).key);
    }
    assert_eq!(keys, ["pre/x.mp4", "pre/x_1.mp4", "pre/x_2.mp4", "pre/x_3.mp4"]);
}

#[test]
fn the_doctor_speaks_and_a_missing_container_is_named() {
    let server = azure();
    let checks = targets(server.container("doctor")).probe("cloud").unwrap();
    assert!(checks.iter().all(|c| c.ok), "{checks:?}");
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 1000, 1);
    let error = upload(&targets(server.target("nowhere")), &asset(dir.path(), "id", &["x.mp4"])).unwrap_err();
    assert_eq!(error.cause(), Some(&Cause::NoSuchBucket), "{error:?}");
}
