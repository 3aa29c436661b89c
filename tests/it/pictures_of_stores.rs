//! Pictures of recordings that were freed locally: read from the store and sent by the daemon, so that the page asks no other host.

use std::fs;
use std::path::Path;

use super::clips::Playing;
use crate::support::clients::{put, see};
use crate::support::recordings::made;
use crate::support::stores::s3;
use crate::support::{Sandbox, config_with_targets};

const PICTURES: &str = "[pictures]\nposter = true\nsprite = true\nsprite_interval = \"1s\"\n";
const FREEING: &str = "[retain]\ndelete_local = \"delivered\"\n[serve]\nlisten = \"off\"\n";

#[test]
fn pictures_of_freed_recordings_come_from_the_store_by_way_of_the_daemon() {
    let server = s3();
    let bucket = server.bucket("pictures");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&bucket], PICTURES));
    sandbox.put(&made("mp4", 12), "cam.mp4");
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().remove(0);
    let written = ["poster", "sprite"].map(|what| {
        let picture = &vod["pictures"][what];
        let path = picture["path"].as_str().unwrap_or_else(|| panic!("{vod}")).to_owned();
        (what, fs::read(&path).unwrap(), path, picture["digest"].as_str().unwrap().to_owned())
    });
    let freeing = config_with_targets(sandbox.path(), &[&bucket], &format!("{PICTURES}{FREEING}"));
    fs::write(sandbox.path().join("config.toml"), freeing).unwrap();
    sandbox.run(&["retain"]).expect_code(0);

    let playing = Playing::new(sandbox);
    let id = vod["vodId"].as_str().unwrap();
    for (what, bytes, path, digest) in &written {
        assert!(!Path::new(path).exists(), "{path} is freed");
        let uri = format!("/api/v1/vods/{id}/{what}?v={}", &digest[..32]);
        let answer = playing.get(&uri);
        assert!(answer.status == 200 && answer.body == *bytes, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("image/jpeg"));
        assert_eq!(answer.header("cache-control"), Some("private, max-age=31536000, immutable"));
        assert_eq!((answer.header("location"), answer.header("x-content-type-options")), (None, Some("nosniff")));
        let tag = format!("\"{}\"", &digest[..32]);
        assert_eq!(answer.header("etag"), Some(&tag[..]));
        assert_eq!(playing.ask("GET", &uri, &[("if-none-match", &tag)]).status, 304);
        let head = playing.ask("HEAD", &uri, &[]);
        assert_eq!((head.status, head.header("content-length")), (200, Some(&bytes.len().to_string()[..])));
    }
    assert_eq!(playing.get(&format!("/api/v1/vods/{id}/sprite.vtt")).status, 200);

    // As long as the one before, and another picture: it is not what the URL names.
    let key = "pre/previews/cam.jpg";
    let mut other = see(&bucket, key).bytes;
    let end = other.len() - 1;
    other[end] ^= 1;
    put(&bucket, key, other);
    let answer = playing.get(&format!("/api/v1/vods/{id}/poster"));
    assert_eq!((answer.status, &answer.json()["kind"]), (404, &"notFound".into()), "{answer:?}");
}
