//! What a recording holds beside sound and pictures: it comes along, or it is named and the original stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::recordings::ffmpeg;
use crate::support::{Sandbox, tree};

const SOURCES: [&str; 8] =
    ["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=4", "-f", "lavfi", "-i", "sine=r=48000:d=4"];
const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac";
const H264_MP2: &str = "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a mp2";
const VP8: &str = "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis";

fn split(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}

fn ffprobe(path: &Path, arguments: &str) -> String {
    let run = Command::new("ffprobe").args(["-v", "error", "-of", "csv=p=0"]).args(split(arguments)).arg(path).output();
    String::from_utf8(run.unwrap().stdout).unwrap()
}

fn finished(sandbox: &Sandbox, name: &str, made: &Path) -> (Value, PathBuf) {
    sandbox.put(made, name);
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().pop().unwrap();
    let path = PathBuf::from(vod["filePath"].as_str().unwrap());
    (vod, path)
}

fn defects(vod: &Value) -> Vec<String> {
    vod["defects"].as_array().unwrap().iter().map(|d| d["kind"].as_str().unwrap().to_owned()).collect()
}

/// Starts, ends and titles of chapters, milliseconds.
fn chapters(path: &Path) -> Vec<(i64, i64, String)> {
    let said = ffprobe(path, "-show_entries chapter=start_time,end_time:chapter_tags=title");
    let ms = |text: &str| {
        let (seconds, fraction) = text.split_once('.').unwrap();
        seconds.parse::<i64>().unwrap() * 1000 + fraction[..3].parse::<i64>().unwrap()
    };
    let chapter = |line: &str| {
        let mut fields = line.splitn(3, ',');
        Some((ms(fields.next()?), ms(fields.next()?), fields.next()?.to_owned()))
    };
    said.lines().filter_map(chapter).collect()
}

const CHAPTERS: &str = ";FFMETADATA1\ntitle=Session\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=Start\n\
                        [CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=3000\ntitle=Vote\n\
                        [CHAPTER]\nTIMEBASE=1/1000\nSTART=3000\nEND=4000\ntitle=\u{c4}nderung\n";

#[test]
fn chapters_come_along() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("chapters.txt");
    fs::write(&list, CHAPTERS).unwrap();
    for (name, output, codecs) in
        [("a.mkv", "a.mp4", H264), ("b.mkv", "b.mkv", H264_MP2), ("c.webm", "c.webm", VP8), ("d.mp4", "d.mp4", H264)]
    {
        // Written to a pipe, none of them gets an index: all but the MP4 are finished by a remux.
        let made = directory.path().join(name);
        let live = if name.ends_with("mp4") { "-y" } else { "-live 1" };
        let map = ["-i", list.to_str().unwrap(), "-map", "0", "-map", "1", "-map_metadata", "2", "-map_chapters", "2"];
        ffmpeg(&[&SOURCES[..], &map, &split(codecs), &split(live), &[made.to_str().unwrap()]].concat());
        assert_eq!(chapters(&made).len(), 3, "{name}");
        let sandbox = Sandbox::new();
        let (vod, path) = finished(&sandbox, name, &made);
        assert_eq!(path, sandbox.root().join(output), "{name}: {vod}");
        let (found, expected) = (chapters(&path), chapters(&made));
        assert_eq!(found.len(), 3, "{name}: {vod}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.2, expected.2, "{name}");
            assert!((found.0 - expected.0).abs() <= 50 && (found.1 - expected.1).abs() <= 50, "{name}: {found:?}");
        }
        assert_eq!(defects(&vod), Vec::<String>::new(), "{name}");
    }
}

/// In an MP4 an untitled chapter comes before a first one that begins later: readers begin with the first in any case.
#[test]
fn a_first_chapter_that_begins_late_begins_when_it_should() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("chapters.txt");
    fs::write(&list, ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=2000\nEND=3000\ntitle=Vote\n").unwrap();
    let made = directory.path().join("a.mkv");
    let map = ["-i", list.to_str().unwrap(), "-map", "0", "-map", "1", "-map_chapters", "2"];
    ffmpeg(&[&SOURCES[..], &map, &split(H264), &[made.to_str().unwrap()]].concat());
    let sandbox = Sandbox::new();
    let (_, path) = finished(&sandbox, "a.mkv", &made);
    let starts: Vec<_> = chapters(&path).into_iter().filter(|c| c.2 == "Vote").map(|c| c.0).collect();
    assert!(starts.len() == 1 && (1900..=2000).contains(&starts[0]), "{starts:?}");
}

fn cover(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    ffmpeg(&["-f", "lavfi", "-i", "color=red:s=100x100:d=1", "-frames:v", "1", path.to_str().unwrap()]);
    path
}

#[test]
fn a_cover_stays_a_cover() {
    let directory = tempfile::tempdir().unwrap();
    for (picture, mime) in [("cover.jpg", "image/jpeg"), ("cover.png", "image/png")] {
        let picture = cover(directory.path(), picture);
        for (name, output, codecs) in
            [("a.mkv", "a.mp4", H264), ("b.mkv", "b.mkv", H264_MP2), ("c.mkv", "c.mkv", H264_MP2)]
        {
            let made = directory.path().join(name);
            let attach = ["-attach", picture.to_str().unwrap(), "-metadata:s:t"];
            let mime = format!("mimetype={mime}");
            let live = if name == "c.mkv" { "-live 1" } else { "-y" };
            ffmpeg(&[&SOURCES[..], &split(codecs), &split(live), &attach, &[&mime, made.to_str().unwrap()]].concat());
            let sandbox = Sandbox::new();
            let (vod, path) = finished(&sandbox, name, &made);
            assert_eq!(path, sandbox.root().join(output), "{vod}");
            assert_eq!(defects(&vod), Vec::<String>::new(), "{name}: {vod}");
            let kinds = "-show_entries stream=codec_type:stream_disposition=attached_pic";
            let mut found: Vec<String> = ffprobe(&path, kinds).lines().map(str::to_owned).collect();
            found.sort();
            assert_eq!(found, ["audio,0", "video,0", "video,1"], "{name}");
            assert_eq!(tree(&sandbox.root()).into_keys().collect::<Vec<_>>(), [output], "{name}: one file");
            let bytes = directory.path().join("extracted");
            let extract = "-map 0:v -map -0:V -c copy -f image2 -update 1";
            ffmpeg(&[&["-i", path.to_str().unwrap()][..], &split(extract), &[bytes.to_str().unwrap()]].concat());
            assert_eq!(fs::read(bytes).unwrap(), fs::read(&picture).unwrap(), "{name}");
        }
    }
}

#[test]
fn an_attached_file_comes_along_or_is_named_and_the_original_stays() {
    let directory = tempfile::tempdir().unwrap();
    let font = directory.path().join("captions.ttf");
    fs::write(&font, b"\0\x01\0\0not much of a font").unwrap();
    for (name, output, codecs, is_carried) in [("a.mkv", "a.mp4", H264, false), ("b.mkv", "b.mkv", H264_MP2, true)] {
        let made = directory.path().join(name);
        let attach = ["-attach", font.to_str().unwrap(), "-metadata:s:t", "mimetype=font/ttf"];
        ffmpeg(&[&SOURCES[..], &split(codecs), &["-live", "1"], &attach, &[made.to_str().unwrap()]].concat());
        let sandbox = Sandbox::new();
        let (vod, path) = finished(&sandbox, name, &made);
        assert_eq!(path, sandbox.root().join(output), "{vod}");
        let names = ffprobe(&path, "-show_entries stream_tags=filename");
        assert_eq!(names.contains("captions.ttf"), is_carried, "{names}");
        assert_eq!(defects(&vod).contains(&"content_left_out".to_owned()), !is_carried, "{vod}");
        assert_eq!(sandbox.root().join(name).exists(), !is_carried || name == output, "{name}");
        assert!(is_carried || vod["defects"].to_string().contains("captions.ttf"), "{vod}");
    }
}

#[test]
fn the_name_of_a_programme_comes_along_and_several_programmes_keep_the_original() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("one.ts");
    let named = "-metadata service_name=Parliament -metadata service_provider=ORF";
    ffmpeg(&[&SOURCES[..], &split(H264), &split(named), &[made.to_str().unwrap()]].concat());
    let sandbox = Sandbox::new();
    let (vod, path) = finished(&sandbox, "one.ts", &made);
    assert_eq!(defects(&vod), Vec::<String>::new());
    let said = ffprobe(&path, "-show_entries format_tags=title,network");
    assert!(said.contains("Parliament") && said.contains("ORF"), "{said}");

    let made = directory.path().join("two.ts");
    let programmes = "-map 0 -map 1 -map 0 -map 1 -program title=one:st=0:st=1 -program title=two:st=2:st=3";
    ffmpeg(&[&SOURCES[..], &split(programmes), &split(H264), &[made.to_str().unwrap()]].concat());
    let sandbox = Sandbox::new();
    let (vod, path) = finished(&sandbox, "two.ts", &made);
    assert_eq!(ffprobe(&path, "-show_entries stream=codec_type").lines().count(), 4, "every track is there");
    assert_eq!(defects(&vod), ["content_left_out"]);
    assert!(sandbox.root().join("two.ts").exists());
}
