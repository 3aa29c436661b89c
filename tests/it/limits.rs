//! Files that state what nobody has: they cost neither memory nor the others' time (`docs/limits.md`).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::support::daemon::{Daemon, until};
use crate::support::limited::Limited;
use crate::support::recordings::made;
use crate::support::{RunOutput, Sandbox, standard_config, tree};

/// Far below what each of these files came to, and enough for FFmpeg and some recordings at once.
const ENOUGH_BYTES: u64 = 512 << 20;

fn boxed(fourcc: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len() + 8).unwrap().to_be_bytes()[..], &fourcc, body].concat()
}

/// A zlib stream of so many zeros: one literal, then matches of 258 at distance 1, each in 13 bits of the fixed code (RFC 1951
/// §3.2.6), so that 12 MB come to 2 GB.
fn zeros_packed(bytes: u64) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let (mut pending, mut count) = (0u64, 0);
    let mut put = |value: u64, bits: u32, out: &mut Vec<u8>| {
        pending |= value << count;
        count += bits;
        while count >= 8 {
            out.push(u8::try_from(pending & 0xFF).unwrap());
            pending >>= 8;
            count -= 8;
        }
    };
    put(0b011, 3, &mut out);
    // Codes are written from their highest bit on: literal 0 is 00110000, length 258 is 11000101, distance 1 is 00000.
    put(0b0000_1100, 8, &mut out);
    for _ in 0..bytes / 258 {
        put(0b1010_0011, 8, &mut out);
        put(0, 5, &mut out);
    }
    put(0, 7, &mut out);
    put(0, 7, &mut out);
    out
}

/// A movie header that says how long it is when it is expanded, and is.
fn compressed(bytes: u64) -> Vec<u8> {
    let stated = u32::try_from(bytes).unwrap().to_be_bytes();
    let header = [boxed(*b"dcom", b"zlib"), boxed(*b"cmvd", &[&stated[..], &zeros_packed(bytes)].concat())].concat();
    [boxed(*b"ftyp", b"qt  \0\0\0\0qt  "), boxed(*b"mdat", &[0; 1000]), boxed(*b"moov", &boxed(*b"cmov", &header))]
        .concat()
}

const TERABYTE: u64 = 1 << 40;

/// A box of so many bytes that takes a block on the disk.
fn hole(path: &Path, before: &[u8], fourcc: [u8; 4], bytes: u64) {
    let header = [b"\0\0\0\x01", &fourcc[..], &bytes.to_be_bytes()].concat();
    let mut file = File::create(path).unwrap();
    file.write_all(&[before, &header].concat()).unwrap();
    file.set_len(before.len() as u64 + bytes).unwrap();
}

/// Hostile recordings of each kind that was found.
fn put_hostile(sandbox: &Sandbox) -> usize {
    fs::write(sandbox.root().join("compressed.mov"), compressed(1_900_000_000)).unwrap();
    let ftyp = boxed(*b"ftyp", b"isom\0\0\0\0isom");
    let with_media = [&ftyp[..], &boxed(*b"mdat", &[7; 1000])].concat();
    hole(&sandbox.root().join("header.mp4"), &ftyp, *b"moov", TERABYTE);
    hole(&sandbox.root().join("header-last.mp4"), &with_media, *b"moov", TERABYTE);
    hole(&sandbox.root().join("fragment.mp4"), &ftyp, *b"moof", TERABYTE);
    hole(&sandbox.root().join("media.mp4"), &ftyp, *b"mdat", 4 * TERABYTE);
    5
}

/// A manifest of 47 KiB that comes to half a million names.
fn multiplying() -> String {
    let representations: Vec<_> = (0..700).map(|n| format!("<Representation id='{n}'/>")).collect();
    let templates: Vec<_> = (0..700).map(|n| format!("<SegmentTemplate media='{n}$Number$'/>")).collect();
    format!("<MPD type='static'>{}{}</MPD>", representations.concat(), templates.concat())
}

fn process(sandbox: &Sandbox, limit: &Limited) -> RunOutput {
    limit.wrap(&sandbox.command(&["process", sandbox.root().to_str().unwrap()])).output().unwrap().into()
}

#[test]
fn recordings_that_state_more_than_a_limit_are_quarantined_and_cost_no_memory() {
    let sandbox = Sandbox::new();
    let hostile = put_hostile(&sandbox);
    let before = fs::read_dir(sandbox.root()).unwrap().count();
    let limit = Limited::to(ENOUGH_BYTES);
    let run = process(&sandbox, &limit).expect_code(4);
    assert_eq!(run.out.lines().filter(|line| line.starts_with("quarantined")).count(), hostile, "{}", run.out);
    assert!(run.out.contains("compressed movie header"), "{}", run.out);
    assert!(run.out.contains("bytes of the file for each byte that is allocated on disk"), "{}", run.out);
    assert_eq!(run.out.matches("size of a header in bytes is ").count(), 3, "{}", run.out);
    assert_eq!(limit.kills().unwrap_or(0), 0);
    assert!(fs::read_dir(sandbox.root()).unwrap().count() >= before, "nothing is removed");
    assert!(sandbox.vods().is_empty());
}

#[test]
fn a_thousand_manifests_that_multiply_and_hostile_recordings_keep_nobody_waiting() {
    let sandbox = Sandbox::new();
    let manifest = multiplying();
    let directory = sandbox.root().join("vod");
    fs::create_dir(&directory).unwrap();
    (0..1000).for_each(|n| fs::write(directory.join(format!("{n}.mpd")), &manifest).unwrap());
    put_hostile(&sandbox);
    sandbox.put(&made("ts", 2), "vod/segment.ts");
    sandbox.put(&made("flv", 2), "vod/room1.flv");
    let limit = Limited::to(ENOUGH_BYTES);
    let daemon = Daemon::start_limited(&sandbox, &limit);
    until("the recording beside them", || sandbox.vods().iter().any(|vod| vod["streamId"] == "room1").then_some(()));
    sandbox.put(&made("flv", 2), "vod/room2.flv");
    until("one that ends now", || sandbox.vods().iter().any(|vod| vod["streamId"] == "room2").then_some(()));
    let log = daemon.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains(".mpd")).collect();
    assert_eq!(said.len(), 1, "said once: {said:?}");
    assert!(said[0].contains("and others in its directory not read: more than 4096 file names"), "{said:?}");
    assert!(directory.join("segment.ts").exists(), "what a refused manifest may name is no recording");
    assert_eq!(limit.kills().unwrap_or(0), 0);
    daemon.stop();
}

#[test]
fn process_says_that_a_manifest_is_refused() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, ""));
    fs::write(sandbox.root().join("a.mpd"), multiplying()).unwrap();
    sandbox.put(&made("ts", 2), "a1.ts");
    let before = tree(&sandbox.root());
    let run = sandbox.process().expect_code(4);
    assert!(run.out.contains("a.mpd") && run.out.contains("the .ts files in its directory"), "{}", run.out);
    assert_eq!(tree(&sandbox.root()), before);
}
