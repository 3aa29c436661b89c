//! Which codecs a crashed MP4 comes back with, and what is said of the others.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Sandbox;
use crate::support::boxes::top;
use crate::support::recordings::{decode_errors, made, packets};

/// What a writer leaves that died behind so many hundredths of its media.
fn crashed(whole: &Path, percent: usize) -> PathBuf {
    let bytes = fs::read(whole).unwrap();
    let mdat = top(&bytes).into_iter().find(|found| found.is(*b"mdat")).unwrap();
    let mut left = bytes[..mdat.body().start + mdat.body().len() * percent / 100].to_vec();
    left[mdat.range.start..mdat.range.start + 4].fill(0);
    let path = whole.with_file_name(format!("crashed-{percent}-{}", whole.file_name().unwrap().to_string_lossy()));
    fs::write(&path, left).unwrap();
    path
}

fn payloads(path: &Path, kind: &str) -> Vec<String> {
    let all = packets(path).into_iter().filter(|line| line.contains(kind));
    all.map(|line| line.rsplit(['|', ',', ' ']).next().unwrap().to_owned()).collect()
}

fn recovered(sandbox: &Sandbox, broken: &Path, reference: Option<&Path>) -> PathBuf {
    let output = sandbox.path().join(format!("out-{}", broken.file_name().unwrap().to_string_lossy()));
    let mut args = vec!["recover", broken.to_str().unwrap(), "--output", output.to_str().unwrap()];
    args.extend(reference.iter().flat_map(|path| ["--reference", path.to_str().unwrap()]));
    sandbox.run(&args).expect_code(0);
    output
}

/// The packets of a result are the first ones of the recording, and nearly as many as were left of it.
#[track_caller]
fn assert_beginning(got: &Path, truth: &Path, percent: usize) {
    let what = got.file_name().unwrap().to_string_lossy();
    for kind in ["video", "audio"] {
        let (got, truth) = (payloads(got, kind), payloads(truth, kind));
        let same = got.iter().zip(&truth).take_while(|(got, truth)| got == truth).count();
        // The last packet of sound that is not coded is as long as the cut lets it be.
        assert!(same + 1 >= got.len(), "{what} {kind}: {same} of {}", got.len());
        assert!(same * 100 >= truth.len() * (percent - 12), "{what} {kind}: {same} of {}", truth.len());
    }
    assert_eq!(decode_errors(got), "", "{what}");
}

const COVERED: [&str; 6] = ["mp4-av1", "mp4-av1-hidden", "mov-mjpeg", "mp4-mjpeg", "mov-prores", "mp4-flac"];

#[test]
fn pictures_and_sound_of_further_codecs_come_back() {
    let sandbox = Sandbox::new();
    for recipe in COVERED {
        let whole = made(recipe, 6);
        for percent in [100, 75] {
            let output = recovered(&sandbox, &crashed(&whole, percent), Some(&made(recipe, 3)));
            assert_beginning(&output, &whole, percent);
            if percent == 100 {
                let (got, truth) = (packets(&output).len(), packets(&whole).len());
                assert!(got * 100 >= truth * 98, "{recipe}: {got} of {truth}");
            }
        }
    }
}

#[test]
fn pictures_of_av1_need_no_reference() {
    let sandbox = Sandbox::new();
    let whole = made("mp4-av1", 6);
    assert_beginning(&recovered(&sandbox, &crashed(&whole, 75), None), &whole, 75);
}

#[test]
fn a_codec_that_is_not_rebuilt_is_named_and_nothing_is_made_of_it() {
    let sandbox = Sandbox::new();
    let all = [("mp4-vp9", "vp9"), ("mp4-dts", "dts"), ("mov-alac", "alac"), ("mp4-av1-opus", "opus beside av1")];
    for (recipe, codec) in all {
        let (sound, broken) = (made(recipe, 1), crashed(&made(recipe, 2), 75));
        let output = sandbox.path().join("out.mp4");
        let files = [&broken, &sound, &output].map(|path| path.to_str().unwrap().to_owned());
        let named = ["recover", &files[0], "--reference", &files[1], "--output", &files[2]];
        let run = sandbox.run(&named).expect_code(4);
        assert!(run.out.contains(&format!("{codec} is not rebuilt")), "{}", run.out);
        assert!(!output.exists());
    }
}

#[test]
fn what_a_recording_beside_it_or_its_stream_says_is_not_rebuilt_stays_as_it_is() {
    let sandbox = Sandbox::new();
    let broken = crashed(&made("mp4-vp9", 2), 75);
    let before = fs::read(&broken).unwrap();
    sandbox.put(&made("mp4-vp9", 1), "room_0001.mp4");
    let path = sandbox.put(&broken, "room_0002.mp4");
    for again in [&[][..], &["--again"]] {
        let root = sandbox.root();
        let run = sandbox.run(&[&["process", root.to_str().unwrap()], again].concat()).expect_code(4);
        assert!(run.out.contains("vp9 is not rebuilt"), "{}", run.out);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    assert_eq!(sandbox.vods().len(), 1);
}

#[test]
fn pictures_that_show_themselves_are_counted_where_nothing_tells_of_the_sound() {
    let sandbox = Sandbox::new();
    for (recipe, codec) in [("mov-mjpeg", "mjpeg"), ("mov-prores", "prores")] {
        let broken = sandbox.put(&crashed(&made(recipe, 1), 75), &format!("{recipe}/room.mov"));
        let run = sandbox.run(&["recover", broken.to_str().unwrap()]).expect_code(4);
        let said = format!("{codec} pictures found, but their codec parameters are unknown");
        assert!(run.out.contains("needs parameters") && run.out.contains(&said), "{}", run.out);
    }
}
