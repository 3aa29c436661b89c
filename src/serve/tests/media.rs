//! Media by id and by path: ranges, conditions, downloads, and copies of what was freed.

use super::*;

const LIVE: &str = "webapps/live/streams";
const BYTES: &[u8] = b"0123456789abcdefghij";

fn live() -> (TestServer, VodRecord) {
    let stage = TestServer::new(&[(LIVE, None)]);
    let vod = stage.add(LIVE, "sub/room 1.mp4", BYTES, |vod| vod.digest = Some("ab".repeat(32)));
    (stage, vod)
}

#[tokio::test]
async fn the_whole_file_is_found_by_id_and_by_every_path_of_it() {
    let (stage, vod) = live();
    for uri in [format!("/api/v1/vods/{}/media", vod.vod_id), "/live/streams/sub/room%201.mp4".into()] {
        let said = stage.get(&uri).await;
        assert_eq!((said.status, &said.body[..]), (StatusCode::OK, BYTES), "{uri}");
        assert_eq!((said.header("content-type"), said.header("content-length")), ("video/mp4", "20"));
        assert_eq!(said.header("etag"), format!("\"{}\"", "ab".repeat(16)));
        assert_eq!((said.header("accept-ranges"), said.header("x-content-type-options")), ("bytes", "nosniff"));
        assert!(said.header("last-modified").ends_with(" GMT") && said.header("content-disposition").is_empty());
        let head = stage.ask("HEAD", &uri, &[]).await;
        assert_eq!((head.status, head.body.len(), head.header("content-length")), (StatusCode::OK, 0, "20"));
        assert!(stage.ask("POST", &uri, &[]).await.status.is_client_error());
        let download = stage.get(&format!("{uri}?download=1")).await;
        assert_eq!(
            download.header("content-disposition"),
            "attachment; filename=\"room 1.mp4\"; filename*=UTF-8''room%201.mp4"
        );
    }
}

#[tokio::test]
async fn ranges_are_sent_as_they_are_asked_for() {
    let (stage, vod) = live();
    let uri = format!("/api/v1/vods/{}/media", vod.vod_id);
    let range = async |range: &str| stage.ask("GET", &uri, &[("range", range)]).await;
    for (asked, expected, content_range) in [
        ("bytes=0-3", &b"0123"[..], "bytes 0-3/20"),
        ("bytes=18-", b"ij", "bytes 18-19/20"),
        ("bytes=-5", b"fghij", "bytes 15-19/20"),
        ("bytes=0-999", BYTES, "bytes 0-19/20"),
    ] {
        let said = range(asked).await;
        assert_eq!((said.status, &said.body[..]), (StatusCode::PARTIAL_CONTENT, expected), "{asked}");
        assert_eq!(said.header("content-range"), content_range);
        assert_eq!(said.header("content-length"), expected.len().to_string());
    }
    let several = range("bytes=0-1,5-6").await;
    let boundary = several.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let part = |range: &str, text: &str| {
        format!("--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes {range}/20\r\n\r\n{text}\r\n")
    };
    assert_eq!(several.body, format!("{}{}--{boundary}--\r\n", part("0-1", "01"), part("5-6", "56")));
    assert_eq!(several.header("content-length"), several.body.len().to_string());
    let unmet = range("bytes=20-").await;
    assert_eq!((unmet.status.as_u16(), unmet.header("content-range")), (416, "bytes */20"));
    assert!(String::from_utf8_lossy(&unmet.body).contains("20 bytes"));
    let bomb: Vec<_> = (0..1000).map(|_| "0-0").collect();
    for whole in ["bytes=5-2", "lines=1-2", &format!("bytes={}", bomb.join(","))] {
        let said = range(whole).await;
        assert_eq!((said.status, &said.body[..]), (StatusCode::OK, BYTES), "{whole:.40}");
    }
}

#[tokio::test]
async fn conditions_are_heeded_in_their_order() {
    let (stage, vod) = live();
    let uri = format!("/api/v1/vods/{}/media", vod.vod_id);
    let whole = stage.get(&uri).await;
    let (tag, date) = (whole.header("etag"), whole.header("last-modified"));
    let (past, future) = ("Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT");
    let weak = format!("W/{tag}");
    for (headers, status) in [
        (&[("if-none-match", tag)][..], 304),
        (&[("if-none-match", &weak)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-none-match", "\"other\""), ("if-modified-since", future)], 200),
        (&[("if-modified-since", date)], 304),
        (&[("if-modified-since", past)], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-match", tag)], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("range", "bytes=0-0"), ("if-range", tag)], 206),
        (&[("range", "bytes=0-0"), ("if-range", "\"other\"")], 200),
        (&[("range", "bytes=0-0"), ("if-range", date)], 206),
        (&[("range", "bytes=0-0"), ("if-range", past)], 200),
        (&[("range", "bytes=0-0"), ("if-none-match", tag)], 304),
    ] {
        let said = stage.ask("GET", &uri, headers).await;
        assert_eq!(said.status.as_u16(), status, "{headers:?}");
        assert_eq!(said.body.is_empty(), matches!(status, 304 | 412), "{headers:?}");
        assert_eq!(said.header("etag"), tag);
    }
}

#[tokio::test]
async fn a_file_that_was_changed_has_another_tag() {
    let (stage, vod) = live();
    let uri = format!("/api/v1/vods/{}/media", vod.vod_id);
    let before = stage.get(&uri).await;
    std::fs::write(&vod.file_path, b"replaced").unwrap();
    let after = stage.ask("GET", &uri, &[("if-none-match", before.header("etag"))]).await;
    assert_eq!((after.status, &after.body[..]), (StatusCode::OK, &b"replaced"[..]));
    assert_ne!(after.header("etag"), before.header("etag"));
}

#[tokio::test]
async fn what_the_catalogue_does_not_know_is_not_served() {
    let (stage, vod) = live();
    std::fs::write(stage.path(LIVE).join("secret.mp4"), "secret").unwrap();
    std::fs::write(stage.path("webapps/live/secret"), "secret").unwrap();
    std::os::unix::fs::symlink(stage.path("webapps/live/secret"), stage.path(LIVE).join("link.mp4")).unwrap();
    stage.add(LIVE, "was.mp4", b"was", |_| ());
    std::fs::remove_file(stage.path(LIVE).join("was.mp4")).unwrap();
    std::os::unix::fs::symlink(stage.path("webapps/live/secret"), stage.path(LIVE).join("was.mp4")).unwrap();
    for uri in [
        "/live/streams/secret.mp4",
        "/live/streams/../secret",
        "/live/streams/%2e%2e/secret",
        "/live/streams/sub/..%2F..%2Fsecret",
        "/live/streams//etc/passwd",
        "/live/streams/link.mp4",
        "/live/streams/was.mp4",
        "/live/streams/%00",
        "/live/streams/%ff",
        "/other/streams/sub/room%201.mp4",
        "/live/previews/x.png",
        "/live/previews/../streams/secret.mp4",
        &format!("/live/previews/{}.png", vod.vod_id),
        "/api/v1/vods/unknown/media",
        "/api/v1/vods/..%2F..%2Fetc%2Fpasswd/media",
        &format!("/live/streams/{}", "x".repeat(4096)),
    ] {
        let said = stage.get(uri).await;
        assert!(
            said.status.is_client_error() || said.status == StatusCode::SERVICE_UNAVAILABLE,
            "{uri}: {}",
            said.status
        );
        assert!(!said.body.windows(6).any(|bytes| bytes == b"secret" && !uri.contains("secret")), "{uri}");
        assert_eq!(said.header("content-type"), "application/problem+json", "{uri}");
    }
}

#[tokio::test]
async fn previews_are_found_by_the_path_of_the_list_and_by_the_name_of_the_recording() {
    let stage = TestServer::new(&[(LIVE, None)]);
    let preview = stage.path("webapps/live/previews/room.png");
    std::fs::create_dir_all(preview.parent().unwrap()).unwrap();
    std::fs::write(&preview, "picture").unwrap();
    let vod = stage.add(LIVE, "room.mp4", b"media", |vod| vod.preview_file_path = Some(preview.clone()));
    let listed = stage.get("/live/rest/v2/vods/list/0/1").await.json();
    let path = listed[0]["previewFilePath"].as_str().unwrap();
    assert_eq!(path, format!("previews/{}.png", vod.vod_id));
    for uri in [format!("/live/{path}"), "/live/previews/room.png".into()] {
        let said = stage.get(&uri).await;
        assert_eq!((said.status, &said.body[..]), (StatusCode::OK, &b"picture"[..]), "{uri}");
        assert_eq!(said.header("content-type"), "image/png");
    }
    std::fs::remove_file(&preview).unwrap();
    assert_eq!(stage.get("/live/previews/room.png").await.status, StatusCode::NOT_FOUND);
}

fn object(target: &str, vod: &VodRecord) -> RemoteObject {
    RemoteObject {
        target: target.into(),
        key: "kept/room ä.mp4".into(),
        url: "s3://vods/kept".into(),
        size_bytes: vod.file_size,
        etag: None,
        version: None,
        checksum: None,
        checksum_compared: true,
        verified_ms: 1,
        source: vod.fingerprint,
        source_changed_ns: None,
        differs: None,
        differs_when_read: false,
        is_progressive_copy: false,
    }
}

#[tokio::test]
async fn what_was_freed_is_read_from_its_copy() {
    let stage = TestServer::with_targets(&[(LIVE, None)], |dir| {
        let mut bucket = TargetOptions::new("bucket", "s3://vods/prefix");
        bucket.endpoint = Some("http://127.0.0.1:1".into());
        for (name, secret) in [("access_key_id", "known"), ("secret_access_key", "hush")] {
            std::fs::write(dir.join(name), secret).unwrap();
            bucket.credential_files.insert(name.to_owned(), dir.join(name));
        }
        vec![bucket, TargetOptions::new("disk", &format!("file://{}", dir.join("store").display()))]
    });
    std::fs::create_dir_all(stage.path("store/kept")).unwrap();
    std::fs::write(stage.path("store/kept/room ä.mp4"), BYTES).unwrap();
    for (name, target) in [("a.mp4", "bucket"), ("b.mp4", "disk"), ("c.mp4", "")] {
        let vod = stage.add(LIVE, name, BYTES, |vod| {
            vod.freed_at = Some(7);
            vod.remote.extend((!target.is_empty()).then(|| object(target, vod)));
        });
        std::fs::remove_file(vod.file_path).unwrap();
    }
    let found = stage.get("/live/streams/a.mp4").await;
    let location = found.header("location");
    assert_eq!((found.status, found.header("cache-control")), (StatusCode::FOUND, "no-store"));
    assert!(location.starts_with("http://127.0.0.1:1/vods/kept/room%20%C3%A4.mp4?"), "{location}");
    assert!(location.contains("X-Amz-Signature=") && location.contains("X-Amz-Expires=21600"), "{location}");
    assert!(!location.contains("hush"));
    let named = stage.get("/live/streams/a.mp4?download=1").await;
    assert!(named.header("location").contains("response-content-disposition=attachment"), "{:?}", named.headers);
    let copied = stage.ask("GET", "/live/streams/b.mp4", &[("range", "bytes=-2")]).await;
    assert_eq!((copied.status, &copied.body[..]), (StatusCode::PARTIAL_CONTENT, &b"ij"[..]));
    let nowhere = stage.get("/live/streams/c.mp4").await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8_lossy(&nowhere.body).contains("vod verify"));
    let listed = stage.get("/live/rest/v2/vods/list/0/9").await.json();
    assert!(listed.as_array().unwrap().iter().all(|vod| vod["filePath"].is_string()), "{listed}");
}

fn picture(path: &Path, bytes: &[u8]) -> PictureFile {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    let digest = blake3::hash(bytes).to_hex().to_string();
    PictureFile { path: path.to_owned(), digest, fingerprint: durable::fingerprint(path).unwrap() }
}

#[tokio::test]
async fn pictures_are_found_by_the_id_and_kept_for_ever_under_their_digest() {
    let stage = TestServer::new(&[(LIVE, None)]);
    let vod = stage.add(LIVE, "room.mp4", BYTES, |vod| {
        let previews = vod.root.join("previews");
        let file = picture(&previews.join("room.jpg"), b"poster");
        vod.preview_file_path = Some(file.path.clone());
        vod.pictures.poster = Some(Poster { file, width: 854, height: 480, shows: Shows::Frame { at_ms: 40 } });
        let (file, index) = (
            picture(&previews.join("room.sprite.jpg"), b"sheet"),
            picture(&previews.join("room.sprite.vtt"), b"WEBVTT"),
        );
        let tiles = Tiles { count: 2, columns: 10, width: 160, height: 90, interval_ms: 10_000, duration_ms: 12_000 };
        vod.pictures.sprite = Some(Sprite { file, index, tiles });
    });
    let json = stage.get(&format!("/api/v1/vods/{}", vod.vod_id)).await.json();
    let poster = &json["pictures"]["poster"];
    assert_eq!((poster["width"].as_u64(), poster["shows"]["frame"]["atMs"].as_i64()), (Some(854), Some(40)), "{json}");
    for (what, body) in [("poster", "poster"), ("sprite", "sheet")] {
        let digest = json["pictures"][what]["digest"].as_str().unwrap();
        let uri = format!("/api/v1/vods/{}/{what}", vod.vod_id);
        let said = stage.get(&uri).await;
        assert_eq!((said.status, &said.body[..]), (StatusCode::OK, body.as_bytes()));
        assert_eq!((said.header("content-type"), said.header("cache-control")), ("image/jpeg", "private, no-cache"));
        let tag = format!("\"{}\"", &digest[..32]);
        assert_eq!(said.header("etag"), tag);
        assert_eq!(stage.ask("GET", &uri, &[("if-none-match", &tag)]).await.status, StatusCode::NOT_MODIFIED);
        let kept = stage.get(&format!("{uri}?v={}", &digest[..16])).await;
        assert_eq!(kept.header("cache-control"), "private, max-age=31536000, immutable");
        for other in ["", "0", &digest[..15], "0123456789abcdef", "%00"] {
            assert_eq!(stage.get(&format!("{uri}?v={other}")).await.header("cache-control"), "private, no-cache");
        }
    }
    let index = stage.get(&format!("/api/v1/vods/{}/sprite.vtt", vod.vod_id)).await;
    assert_eq!(index.header("content-type"), "text/vtt; charset=utf-8");
    let text = String::from_utf8_lossy(&index.body).into_owned();
    let sheet = format!("sprite?v={}", &vod.pictures.sprite.as_ref().unwrap().file.digest[..16]);
    assert!(text.contains(&format!("00:00:10.000 --> 00:00:12.000\n{sheet}#xywh=160,0,160,90\n")), "{text}");
    // Another file under the same name is not what the digest promises.
    std::fs::write(&vod.pictures.poster.as_ref().unwrap().file.path, "another").unwrap();
    let uri = format!("/api/v1/vods/{}/poster?v={}", vod.vod_id, &vod.pictures.poster.unwrap().file.digest[..16]);
    assert_eq!(stage.get(&uri).await.header("cache-control"), "private, no-cache");
}

#[tokio::test]
async fn a_vod_without_pictures_says_why() {
    let stage = TestServer::new(&[(LIVE, None)]);
    let silent = stage.add(LIVE, "a.mp4", BYTES, |_| ());
    let failed = stage.add(LIVE, "b.mp4", BYTES, |vod| vod.pictures.missing = Some("no poster: timed out".into()));
    for (vod, why) in [(silent, "no such picture"), (failed, "no poster: timed out")] {
        for what in ["poster", "sprite", "sprite.vtt"] {
            let said = stage.get(&format!("/api/v1/vods/{}/{what}", vod.vod_id)).await;
            assert_eq!(said.status, StatusCode::NOT_FOUND);
            assert!(String::from_utf8_lossy(&said.body).contains(why), "{what}: {:?}", said.body);
        }
    }
}
