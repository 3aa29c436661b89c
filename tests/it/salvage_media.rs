//! Where the media of an MP4 lies when sizes lie: all of it is looked at, and a header that is there is used.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::Sandbox;
use crate::support::boxes::{BoxSpan, at_path, number, set_number, top};
use crate::support::recordings::{decode_errors, ffmpeg, made, packets, without_moov};

const OFFSETS: &str = "trak/mdia/minf/stbl/stco";

/// The first box of a type.
fn first(bytes: &[u8], kind: [u8; 4]) -> BoxSpan {
    top(bytes).into_iter().find(|found| found.is(kind)).unwrap()
}

/// Where each chunk of a recording begins, ascending.
fn chunks(bytes: &[u8]) -> Vec<usize> {
    let tables = at_path(bytes, first(bytes, *b"moov").body(), OFFSETS);
    let mut all: Vec<usize> = tables.iter().flat_map(|table| offsets(bytes, table)).collect();
    all.sort_unstable();
    all
}

fn offsets(bytes: &[u8], table: &BoxSpan) -> Vec<usize> {
    let count = usize::try_from(number(bytes, table.body().start + 4, 4)).unwrap();
    let at = |index: usize| number(bytes, table.body().start + 8 + 4 * index, 4);
    (0..count).map(|index| usize::try_from(at(index)).unwrap()).collect()
}

fn boxed(kind: [u8; 4], size: u32, body: &[u8]) -> Vec<u8> {
    [&size.to_be_bytes()[..], &kind, body].concat()
}

fn whole_box(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    boxed(kind, u32::try_from(body.len() + 8).unwrap(), body)
}

/// Writes a broken form of a recording beside it.
fn beside(whole: &Path, how: &str, bytes: &[u8]) -> PathBuf {
    let path = whole.with_file_name(format!("{how}-{}", whole.file_name().unwrap().to_string_lossy()));
    fs::write(&path, bytes).unwrap();
    path
}

/// Kind, times from the first of its kind on, size and payload of each packet.
fn content(path: &Path, kind: &str) -> Vec<String> {
    let all = packets(path).into_iter().filter(|line| line.contains(kind));
    all.map(|line| line.rsplit(['|', ',', ' ']).next().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_same(got: &Path, truth: &Path, what: &str) {
    for kind in ["video", "audio"] {
        let (got, truth) = (content(got, kind), content(truth, kind));
        assert!(truth.len() > 10, "{what} {kind}");
        assert_eq!(got, truth, "{what} {kind}: {} of {}", got.len(), truth.len());
    }
    assert_eq!(decode_errors(got), "", "{what}");
}

/// Recovers a file alone with a reference and compares it with what it was.
#[track_caller]
fn assert_recovered(sandbox: &Sandbox, broken: &Path, (reference, truth): (&Path, &Path)) {
    let name = broken.file_name().unwrap().to_string_lossy().into_owned();
    let output = sandbox.path().join(format!("out-{name}"));
    let files = [broken, reference, &output].map(|path| path.to_str().unwrap().to_owned());
    let run = sandbox.run(&["recover", &files[0], "--reference", &files[1], "--output", &files[2]]).expect_code(0);
    assert_same(&output, truth, &format!("{name}: {}", run.out));
}

#[test]
fn media_in_several_boxes_comes_back_all() {
    let sandbox = Sandbox::new();
    for recipe in ["mp4", "mp4-h265", "mp4-mpeg4", "mov-pcm"] {
        let whole = made(recipe, 6);
        let bytes = fs::read(&whole).unwrap();
        let (mdat, chunks) = (first(&bytes, *b"mdat"), chunks(&bytes));
        let [third, middle] = [chunks.len() / 3, chunks.len() / 2].map(|index| chunks[index]);
        let [one, two, three] =
            [mdat.body().start..third, third..middle, middle..mdat.range.end].map(|range| &bytes[range]);
        let head = &bytes[..mdat.range.start];
        let rest = [two, three].concat();
        let open_64 = [&boxed(*b"mdat", 1, &[0; 8]), &rest[..]].concat();
        let forms = [
            ("open", [head, &whole_box(*b"mdat", one), &boxed(*b"mdat", 0, &rest)].concat()),
            (
                "three",
                [head, &whole_box(*b"mdat", one), &whole_box(*b"mdat", two), &whole_box(*b"mdat", three)].concat(),
            ),
            ("padded", [head, &whole_box(*b"mdat", one), &whole_box(*b"free", &[7; 900]), &open_64].concat()),
        ];
        for (how, broken) in forms {
            let broken = beside(&whole, how, &broken);
            assert_recovered(&sandbox, &broken, (&made(recipe, 3), &whole));
        }
    }
}

#[test]
fn a_size_that_is_wrong_hides_no_media() {
    let sandbox = Sandbox::new();
    for recipe in ["mp4", "mp4-mp3", "mov-pcm"] {
        let whole = made(recipe, 6);
        let crashed = fs::read(without_moov(&whole)).unwrap();
        let mdat = first(&crashed, *b"mdat");
        let size = u32::try_from(crashed.len() - mdat.range.start).unwrap();
        for (how, wrong) in [("small", size - 20_000), ("placeholder", 8), ("smallest", 30), ("large", size + 9000)] {
            let mut broken = crashed.clone();
            set_number(&mut broken, mdat.range.start, 4, u64::from(wrong));
            assert_recovered(&sandbox, &beside(&whole, how, &broken), (&made(recipe, 3), &whole));
        }
    }
}

#[test]
fn a_header_that_no_size_leads_to_is_used() {
    for (recipe, name) in [("mp4", "a.mp4"), ("mp4-opus", "b.mp4"), ("mov-pcm", "c.mov"), ("mp4-vp9", "d.mp4")] {
        let whole = made(recipe, 4);
        let bytes = fs::read(&whole).unwrap();
        let mdat = first(&bytes, *b"mdat");
        let size = u64::try_from(mdat.range.len()).unwrap();
        for (how, wrong, behind) in
            [("open", 0, 0), ("small", size - 700, 0), ("large", size + 70, 0), ("zeros", 0, 9000)]
        {
            let sandbox = Sandbox::new();
            let mut broken = bytes.clone();
            set_number(&mut broken, mdat.range.start, 4, wrong);
            broken.resize(bytes.len() + behind, 0);
            let path = sandbox.put(&beside(&whole, how, &broken), name);
            sandbox.process().expect_code(0);
            let vods = sandbox.vods();
            assert_eq!((vods.len(), &vods[0]["outcome"]), (1, &"spliced".into()), "{recipe} {how}: {vods:?}");
            assert!(vods[0]["defects"].to_string().contains("movie header"), "{vods:?}");
            assert_same(&path, &whole, &format!("{recipe} {how}"));
            let finished = fs::read(&path).unwrap();
            let kinds: Vec<[u8; 4]> = top(&finished).iter().map(|found| found.kind).collect();
            assert_eq!(kinds[..2], [*b"ftyp", *b"moov"], "{recipe} {how}");
            assert_eq!(top(&finished).last().unwrap().range.end, finished.len(), "{recipe} {how}");
            let names = fs::read_dir(sandbox.root()).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<_> = names.filter(|name| !name.to_string_lossy().starts_with('.')).collect();
            assert_eq!(left, [name], "nothing is left of it");
        }
    }
}

#[test]
fn a_header_is_used_where_the_beginning_of_the_file_is_lost_and_the_original_stays() {
    let sandbox = Sandbox::new();
    let whole = made("mp4", 6);
    let mut bytes = fs::read(&whole).unwrap();
    bytes[..4096].fill(0);
    let path = sandbox.put(&beside(&whole, "headless", &bytes), "room.mp4");
    sandbox.run(&["recover", path.to_str().unwrap()]).expect_code(0);
    let vods = sandbox.vods();
    assert_eq!(vods[0]["outcome"], "spliced", "{vods:?}");
    assert!(vods[0]["defects"].to_string().contains("the beginning of the file"), "{vods:?}");
    let finished = PathBuf::from(vods[0]["filePath"].as_str().unwrap());
    assert_eq!((packets(&finished).len(), fs::read(&path).unwrap()), (packets(&whole).len(), bytes));
}

/// Of a recording that lost its beginning the pictures before the first keyframe are kept, and a player must not be sent to them. The
/// group of pictures is longer than a fragment of the muxer.
#[test]
fn pictures_before_the_first_keyframe_do_not_count_as_keyframes() {
    let sandbox = Sandbox::new();
    let whole = sandbox.path().join("whole.flv");
    let size =
        ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=12", "-c:v", "libx264", "-preset", "ultrafast"];
    let groups =
        ["-g", "100", "-keyint_min", "100", "-sc_threshold", "0", "-pix_fmt", "yuv420p", whole.to_str().unwrap()];
    ffmpeg(&[&size[..], &groups].concat());
    let mut bytes = fs::read(&whole).unwrap();
    bytes[..4096].fill(0);
    let broken = beside(&whole, "headless", &bytes);
    let output = sandbox.path().join("out.mp4");
    let args = [broken.to_str().unwrap(), "--reference", whole.to_str().unwrap(), "--output", output.to_str().unwrap()];
    sandbox.run(&[&["recover"], &args[..]].concat()).expect_code(0);
    let finished = fs::read(&output).unwrap();
    let moov = first(&finished, *b"moov").body();
    let tables = at_path(&finished, moov.clone(), "trak/mdia/minf/stbl/stss");
    let [table] = &tables[..] else { panic!("a list of keyframes") };
    let count = usize::try_from(number(&finished, table.body().start + 4, 4)).unwrap();
    let listed: Vec<_> = (0..count).map(|n| number(&finished, table.body().start + 8 + 4 * n, 4)).collect();
    // Pictures 101 and 201 of the original; the first one was lost.
    assert_eq!(listed, [100, 200], "{} pictures", packets(&output).len());
}

/// A sparse file beyond 4 GiB whose media has a hole in the middle, and whose sizes and offsets of 32 bits wrapped.
fn wrapped(whole: &Path, to: &Path, (hole, is_size_right): (u64, bool)) {
    let bytes = fs::read(whole).unwrap();
    let (mdat, moov, chunks) = (first(&bytes, *b"mdat"), first(&bytes, *b"moov"), chunks(&bytes));
    let middle = chunks[chunks.len() / 2];
    let head = bytes[..first(&bytes, *b"ftyp").range.end].to_vec();
    let body = head.len() as u64 + 16;
    let moved = |offset: usize| (offset - mdat.body().start) as u64 + body + if offset >= middle { hole } else { 0 };
    let mut header = bytes[moov.range.clone()].to_vec();
    for table in at_path(&bytes, moov.body(), OFFSETS) {
        for (index, offset) in offsets(&bytes, &table).into_iter().enumerate() {
            let at = table.body().start - moov.range.start + 8 + 4 * index;
            set_number(&mut header, at, 4, moved(offset) & 0xFFFF_FFFF);
        }
    }
    let media_bytes = mdat.body().len() as u64 + hole;
    let front = if is_size_right {
        boxed(*b"mdat", 1, &(16 + media_bytes).to_be_bytes())
    } else {
        let size = u32::try_from((8 + media_bytes) & 0xFFFF_FFFF).unwrap();
        [whole_box(*b"free", &[]), boxed(*b"mdat", size, &[])].concat()
    };
    let file = File::create(to).unwrap();
    file.write_all_at(&[&head[..], &front, &bytes[mdat.body().start..middle]].concat(), 0).unwrap();
    let rest = [&bytes[middle..mdat.range.end], &header].concat();
    file.write_all_at(&rest, moved(middle)).unwrap();
}

#[test]
fn offsets_that_wrapped_at_32_bits_lead_to_their_samples() {
    let whole = made("mp4", 6);
    let sandbox = Sandbox::new();
    let back = sandbox.root().join("back.mp4");
    wrapped(&whole, &back, ((4 << 30) - 60_000, true));
    let run = sandbox.run(&["inspect", back.to_str().unwrap()]).expect_code(0);
    assert!(run.out.contains("modulo 2^32") && run.out.contains("move header to front"), "{}", run.out);
    let (srs, output) = (sandbox.root().join("srs.mp4"), sandbox.path().join("out.mp4"));
    wrapped(&whole, &srs, (4200 << 20, false));
    let run = sandbox.run(&["recover", srs.to_str().unwrap(), "--output", output.to_str().unwrap()]).expect_code(0);
    assert!(run.out.contains("modulo 2^32"), "{}", run.out);
    assert_same(&output, &whole, "srs.mp4");
}
