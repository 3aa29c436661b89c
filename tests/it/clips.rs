//! Clips, asked of a real daemon: the packets are those that ffmpeg copies, the pictures and the sound those of the span and in time.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::browser::seek_in_chromium;
use crate::support::daemon::Daemon;
use crate::support::recordings::{decode_errors, duration_s, ffmpeg, made, packets_with, without_moov};
use crate::support::{Sandbox, standard_config};

/// 2026-03-04T14:30:15Z, as the names below say it.
pub const START_MS: i64 = 1_772_634_615_000;
pub const NAME: &str = "2026-03-04_14-30-15-000000";

/// A house next to MediaMTX, its daemon, and a place for what it answers.
pub struct Playing {
    pub sandbox: Sandbox,
    daemon: Daemon,
}

pub struct PlaybackReply {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for PlaybackReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(500).collect();
        write!(f, "{}\n{} bytes: {}", self.head, self.body.len(), body.escape_debug())
    }
}

impl PlaybackReply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Playing {
    pub fn new(sandbox: Sandbox) -> Self {
        let daemon = Daemon::start(&sandbox);
        Self { sandbox, daemon }
    }

    /// Ends the daemon in order.
    pub fn end(self) -> Sandbox {
        self.daemon.stop();
        self.sandbox
    }

    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> PlaybackReply {
        let mut stream = UnixStream::connect(self.sandbox.path().join("state/aftercast.sock")).unwrap();
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: playback.test\r\nconnection: close\r\n");
        for (name, value) in headers {
            request += &[*name, ": ", *value, "\r\n"].concat();
        }
        stream.write_all((request + "\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        PlaybackReply { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn get(&self, target: &str) -> PlaybackReply {
        self.ask("GET", target, &[])
    }

    /// The clip of a stream between two times in seconds from the start of the recordings, in a file.
    fn clip(&self, stream: &str, span: (f64, f64), format: &str) -> PathBuf {
        let answer = self.get(&target(stream, span, format));
        assert_eq!(answer.status, 200, "{stream} {span:?}: {}", String::from_utf8_lossy(&answer.body));
        let said: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert_eq!(said, answer.body.len());
        let path = self.sandbox.path().join(format!("{stream}-{}-{}.{format}.mp4", span.0, span.1));
        fs::write(&path, answer.body).unwrap();
        path
    }
}

fn seconds(ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a test")]
    let ms = ms as f64;
    ms / 1000.0
}

fn at_ms(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
    let ms = (seconds * 1000.0).round() as i64;
    START_MS + ms
}

pub fn target(stream: &str, (from, to): (f64, f64), format: &str) -> String {
    format!("/api/v1/streams/{stream}/clip?start={}&end={}&format={format}", at_ms(from), at_ms(to))
}

fn next_to_mediamtx(watch: &str) -> Sandbox {
    let watch = format!("[watch]\nserver = \"mediamtx\"\n{watch}\n");
    Sandbox::with_config(|dir| standard_config(dir, "").replace("[watch]\n", &watch))
}

/// The local file of a stream's latest VoD.
fn file_of(sandbox: &Sandbox, stream: &str) -> PathBuf {
    let vods = sandbox.vods();
    let vod = vods.iter().rfind(|vod| vod["streamId"] == stream && vod["startTime"] == START_MS);
    PathBuf::from(vod.unwrap_or_else(|| panic!("{stream}: {vods:?}"))["filePath"].as_str().unwrap())
}

/// Digests of all packets of a kind in a file, also of those that its edit list hides.
fn payloads(path: &Path, kind: &str) -> Vec<String> {
    let packets = packets_of(path, kind, &["-ignore_editlist", "1"]);
    packets.iter().map(|packet| packet["data_hash"].as_str().unwrap().to_owned()).collect()
}

/// The packets of a kind as ffprobe reads them with options.
fn packets_of(path: &Path, kind: &str, options: &[&str]) -> Vec<Value> {
    let packets = packets_with(path, &["codec_type", "pts_time", "flags", "data_hash"], options);
    packets.into_iter().filter(|packet| packet["codec_type"] == kind).collect()
}

/// What ffmpeg copies of a span: from the keyframe before.
fn copied(source: &Path, (from, to): (f64, f64), into: &Path) {
    let [from, to] = [from, to].map(|seconds| seconds.to_string());
    ffmpeg(&[
        "-ss",
        &from,
        "-to",
        &to,
        "-i",
        source.to_str().unwrap(),
        "-map",
        "0",
        "-c",
        "copy",
        into.to_str().unwrap(),
    ]);
}

fn decoded(input: &[&str], path: &Path, output: &[&str]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]).args(input).arg("-i").arg(path).args(output).arg("-");
    let run = command.output().unwrap();
    assert!(run.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&run.stderr));
    run.stdout
}

/// Digests of the pictures that are shown.
fn pictures(path: &Path) -> Vec<String> {
    digests(&decoded(&[], path, &["-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5"]))
}

/// Digests of the pictures that a file shows from one time of its clock on until before another. Not by `-to`, which ffmpeg counts from the
/// first picture that it shows.
fn pictures_between(path: &Path, (from, to): (f64, f64)) -> Vec<String> {
    let between = format!("select=gte(t\\,{from})*lt(t\\,{to})");
    let output = ["-map", "0:v", "-vf", &between, "-fps_mode", "passthrough", "-f", "framemd5"];
    digests(&decoded(&["-copyts"], path, &output))
}

fn digests(framemd5: &[u8]) -> Vec<String> {
    let text = String::from_utf8(framemd5.to_vec()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

fn sound(input: &[&str], path: &Path) -> Vec<u8> {
    decoded(input, path, &["-map", "0:a", "-f", "s16le"])
}

/// How far samples are apart, of 32,768.
fn mean_difference(a: &[u8], b: &[u8]) -> u64 {
    let samples = |bytes: &[u8]| bytes.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]])).collect::<Vec<_>>();
    let (a, b) = (samples(a), samples(b));
    let sum: u64 = a.iter().zip(&b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum / (a.len().min(b.len()) as u64).max(1)
}

const SPANS: [(f64, f64); 5] = [(0.0, 2.0), (3.41, 7.25), (5.0, 6.0), (6.99, 7.01), (10.2, 30.0)];

/// Compares clips of a recording with what ffmpeg copies, and what is decoded of them with the span of the source.
fn compare(playing: &Playing, stream: &str) {
    let source = file_of(&playing.sandbox, stream);
    // FLV has whole milliseconds: where ffmpeg begins in it is by as much beside where the samples are.
    let shift = if stream == "flv" { 48 } else { 0 };
    let packets = packets_of(&source, "video", &[]);
    let time = |packet: &Value, name: &str| packet[name].as_str().unwrap().parse::<f64>().unwrap();
    for span in SPANS {
        let copy = playing.sandbox.path().join("copy.mp4");
        // ffmpeg rounds both to microseconds, so that a packet at the very end would be copied or not by chance; none is that close before it.
        // It looks for a keyframe by when that is decoded; what is shown from the beginning of the span on needs the last one shown before it.
        let is_key = |p: &&Value| p["flags"].as_str().unwrap().starts_with('K') && time(p, "pts_time") <= span.0;
        let key = packets.iter().rfind(is_key).unwrap_or(&packets[0]);
        copied(&source, (time(key, "pts_time") + 0.001, span.1 - 0.002), &copy);
        for format in ["mp4", "fmp4"] {
            let clip = playing.clip(stream, span, format);
            for kind in ["video", "audio"] {
                let (got, truth) = (payloads(&clip, kind), payloads(&copy, kind));
                assert_eq!(got, truth, "{stream} {span:?} {format} {kind}");
                assert!(!truth.is_empty());
            }
        }
        let clip = playing.clip(stream, span, "mp4");
        assert_eq!(decode_errors(&clip), "", "{stream} {span:?}");
        let [from, to] = [span.0, span.1].map(|seconds| seconds.to_string());
        let of_span = ["-ss", &from[..], "-to", &to];
        assert_eq!(pictures(&clip), pictures_between(&source, span), "{stream} {span:?}: pictures");
        let (got, truth) = (sound(&[], &clip), sound(&of_span, &source));
        // A decoder that begins elsewhere fills in other noise; half a sample later the tone would be further off than that.
        assert!(got.len().abs_diff(truth.len()) <= 4096, "{stream} {span:?}: {} and {}", got.len(), truth.len());
        let off = (0..=shift)
            .flat_map(|by| [mean_difference(&got[2 * by..], &truth), mean_difference(&got, &truth[2 * by..])]);
        let off = off.min().unwrap();
        assert!(off < 100, "{stream} {span:?}: the sound is another, or at another time: {off}");
    }
}

#[test]
fn clips_hold_the_packets_that_ffmpeg_copies_and_show_the_span() {
    let sandbox = next_to_mediamtx("fragmented = \"progressive\"");
    for (stream, recipe) in [("flv", "flv"), ("pieces", "mp4-fragmented"), ("last", "mp4"), ("hevc", "mp4-h265")] {
        let from = made(recipe, 12);
        let extension = from.extension().unwrap().to_str().unwrap().to_owned();
        sandbox.put(&from, &format!("{stream}/{NAME}.{extension}"));
    }
    sandbox.put(&made("mp4", 2), "crashed/2026-03-03_14-30-15-000000.mp4");
    sandbox.process().expect_code(0);
    let outcome = |stream: &str| sandbox.vods().iter().find(|v| v["streamId"] == stream).unwrap()["outcome"].clone();
    assert_eq!([outcome("flv"), outcome("pieces"), outcome("last")], ["spliced"; 3]);
    let crashed = sandbox.put(&without_moov(&made("mp4", 12)), &format!("crashed/{NAME}.mp4"));
    sandbox.run(&["recover", crashed.to_str().unwrap()]).expect_code(0);
    assert!(sandbox.vods().iter().any(|vod| vod["streamId"] == "crashed" && vod["salvaged"] == true));
    let playing = Playing::new(sandbox);
    for stream in ["flv", "pieces", "last", "hevc", "crashed"] {
        compare(&playing, stream);
    }
}

#[test]
fn a_clip_is_a_file_with_ranges_conditions_and_a_name() {
    let sandbox = next_to_mediamtx("");
    sandbox.put(&made("mp4", 12), &format!("cam/{NAME}.mp4"));
    sandbox.process().expect_code(0);
    let playing = Playing::new(sandbox);
    for format in ["mp4", "fmp4"] {
        let target = target("cam", (3.4, 7.25), format);
        let whole = playing.get(&target);
        let tag = whole.header("etag").unwrap().to_owned();
        assert_eq!((whole.status, whole.header("accept-ranges")), (200, Some("bytes")));
        assert_eq!(whole.header("content-type"), Some("video/mp4"));
        let mut joined = Vec::new();
        while joined.len() < whole.body.len() {
            let range = format!("bytes={}-{}", joined.len(), joined.len() + 10_006);
            let piece = playing.ask("GET", &target, &[("range", &range), ("if-range", &tag)]);
            let end = (joined.len() + 10_007).min(whole.body.len());
            let said = format!("bytes {}-{}/{}", joined.len(), end - 1, whole.body.len());
            assert_eq!((piece.status, piece.header("content-range")), (206, Some(&said[..])));
            joined.extend(piece.body);
        }
        assert!(joined == whole.body, "{format}: pieces are not the whole");
        let head = playing.ask("HEAD", &target, &[]);
        assert_eq!(
            (head.status, head.header("content-length"), head.body.len()),
            (200, whole.header("content-length"), 0)
        );
        assert_eq!(playing.ask("GET", &target, &[("if-none-match", &tag)]).status, 304);
        let behind = playing.ask("GET", &target, &[("range", "bytes=99999999-")]);
        let said = format!("bytes */{}", whole.body.len());
        assert_eq!((behind.status, behind.header("content-range")), (416, Some(&said[..])));
        let stale = playing.ask("GET", &target, &[("range", "bytes=0-9"), ("if-range", "\"other\"")]);
        assert_eq!((stale.status, stale.body.len()), (200, whole.body.len()));
        let named = playing.get(&format!("{target}&download=1"));
        let disposition = "attachment; filename=\"cam_2026-03-04_14-30-18.mp4\"";
        assert_eq!(named.header("content-disposition"), Some(disposition));
    }
}

/// Two recordings of four seconds, the second ten seconds behind the first one's start, and what is between them.
#[test]
fn a_gap_stays_a_gap_and_what_follows_is_in_time() {
    let sandbox = next_to_mediamtx("");
    let first = sandbox.put(&made("mp4-fragmented", 4), &format!("gap/{NAME}.mp4"));
    let second = sandbox.put(&made("mp4-fragmented", 5), "gap/2026-03-04_14-30-25-000000.mp4");
    sandbox.process().expect_code(0);
    let playing = Playing::new(sandbox);
    for format in ["mp4", "fmp4"] {
        let clip = playing.clip("gap", (2.0, 12.0), format);
        let begin = ["-show_entries", "format=start_time", "-of", "csv=p=0"];
        let (begins, length) = (probed(&clip, &begin).parse::<f64>().unwrap(), duration_s(&clip));
        assert!((begins + length - 10.0).abs() < 0.3, "{format}: {length} from {begins}");
        // In fragments FFmpeg shows what the edit list hides, before zero.
        assert!(
            if format == "mp4" { begins.abs() < 0.01 } else { begins < 0.0 && begins > -1.3 },
            "{format}: {begins}"
        );
        for kind in ["video", "audio"] {
            // Fragments written at once have no edit list: pictures begin at the composition offset of the first, sound at 0.
            let truth = &packets_of(&second, kind, &[])[usize::from(kind == "audio")];
            let all = packets_of(&clip, kind, &[]);
            let found = all.iter().find(|packet| packet["data_hash"] == truth["data_hash"]);
            let found = found.unwrap_or_else(|| panic!("{format} {kind}: nothing of the second"));
            let pts = |packet: &Value| packet["pts_time"].as_str().unwrap().parse::<f64>().unwrap();
            assert!((pts(found) - 8.0 - pts(truth)).abs() < 0.002, "{format} {kind}: {found}, in the file {truth}");
        }
    }
    for format in ["mp4", "fmp4"] {
        let clip = playing.clip("gap", (2.0, 12.0), format);
        let heard = decoded(&["-copyts"], &clip, &["-map", "0:a", "-af", "atrim=start=0", "-f", "s16le"]);
        let second = |at: usize| &heard[at * 96_000..(at + 1) * 96_000];
        let loudest = |bytes: &[u8]| bytes.chunks(2).map(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs()).max();
        assert!(heard.len().abs_diff(960_000) < 28_800, "{format}: the gap is filled: {}", heard.len());
        assert!(loudest(second(0)) > Some(1000) && loudest(second(8)) > Some(1000), "{format}: the sound is there");
        assert_eq!(loudest(second(4)), Some(0), "{format}: nothing is heard in the gap");
    }
    let clip = playing.clip("gap", (2.0, 12.0), "mp4");
    assert_eq!(decode_errors(&clip), "");
    let shown = pictures(&clip);
    let truth = [pictures_between(&first, (2.0, 9.0)), pictures_between(&second, (0.0, 2.0))].concat();
    assert_eq!(shown, truth);

    let timeline = playing.get("/api/v1/streams/gap/timeline").json();
    assert_eq!(timeline["spans"].as_array().unwrap().len(), 2, "{timeline}");
    assert_eq!(timeline["gaps"][0]["endMs"], START_MS + 10_000);
    let later = format!("/api/v1/streams/gap/timeline?from={}", START_MS + 6000);
    assert_eq!(playing.get(&later).json()["spans"].as_array().unwrap().len(), 1);
}

#[test]
fn mediamtx_clients_find_what_they_call() {
    let sandbox = next_to_mediamtx("");
    sandbox.put(&made("mp4-fragmented", 4), &format!("site/cam 1/{NAME}.mp4"));
    sandbox.put(&made("mp4-fragmented", 5), "site/cam 1/2026-03-04_14-30-19-010000.mp4");
    sandbox.put(&made("mp4-fragmented", 2), "site/cam 1/2026-03-04_15-00-00-000000.mp4");
    sandbox.process().expect_code(0);
    // Sound or reordered pictures make recordings a little longer than their names say: the span ends with the last recording.
    let mut vods = sandbox.vods();
    vods.sort_by_key(|vod| vod["startTime"].as_i64());
    let lengths: Vec<_> = vods.iter().map(|vod| vod["duration"].as_i64().unwrap()).collect();
    let playing = Playing::new(sandbox);
    let list = playing.get("/list?path=site%2Fcam%201").json();
    let entries = list.as_array().unwrap();
    assert_eq!(entries.len(), 2, "{list}");
    assert_eq!(entries[0]["start"], "2026-03-04T14:30:15Z");
    let whole_s = format!("{:.3}", 4.01 + seconds(lengths[1]));
    let whole_s = whole_s.trim_end_matches('0');
    assert_eq!(entries[0]["duration"].to_string(), whole_s, "{list}");
    assert!(entries[0]["url"].as_str().unwrap().contains(&format!("?duration={whole_s}&path=")), "{list}");
    assert_eq!(entries[1]["duration"].as_f64(), Some(seconds(lengths[2])), "{list}");
    assert_eq!(playing.get("/list?path=site/cam%201&start=2026-03-04T14:50:00Z").json().as_array().unwrap().len(), 1);
    let url = entries[0]["url"].as_str().unwrap().strip_prefix("http://playback.test").unwrap();
    let whole = playing.get(url);
    assert_eq!((whole.status, &whole.body[4..8]), (200, &b"ftyp"[..]));
    let path = playing.sandbox.path().join("whole.mp4");
    fs::write(&path, &whole.body).unwrap();
    // Pictures that are decoded before the end and shown behind it are in the fragments.
    let behind = duration_s(&path) - whole_s.parse::<f64>().unwrap();
    assert!(behind > -0.01 && behind < 0.2, "{behind}");
    assert_eq!(pictures(&path).len(), 9 * 15);
    let mp4 = playing.get("/get?path=site/cam%201&start=2026-03-04T15:30:16%2B01:00&duration=2.5&format=mp4");
    assert_eq!(mp4.status, 200);
    for (target, status) in [
        ("/list?path=other", 404),
        ("/list", 400),
        ("/get?path=other&start=2026-03-04T14:30:16Z&duration=1", 404),
        ("/get?path=site/cam%201&start=2026-03-04T14:40:00Z&duration=1", 404),
        ("/get?path=site/cam%201&start=now&duration=1", 400),
        ("/get?path=site/cam%201&start=2026-03-04T14:30:16Z&duration=0", 400),
        ("/get?path=site/cam%201&start=2026-03-04T14:30:16Z&duration=soon", 400),
        ("/get?path=site/cam%201&start=2026-03-04T14:30:16Z&duration=1&format=avi", 400),
    ] {
        let answer = playing.get(target);
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(answer.json()["error"].as_str().is_some_and(|words| !words.is_empty()), "{answer:?}");
    }
}

fn remove_with_its_copy(sandbox: &Sandbox, path: &Path) {
    fs::remove_file(path).unwrap();
    fs::remove_file(sandbox.store().join(path.strip_prefix(sandbox.root()).unwrap())).unwrap();
}

#[test]
fn sound_alone_and_what_cannot_be_clipped() {
    let sandbox = next_to_mediamtx("");
    let audio = sandbox.path().join("audio.mp4");
    ffmpeg(&["-i", made("mp4", 12).to_str().unwrap(), "-vn", "-c", "copy", audio.to_str().unwrap()]);
    sandbox.put(&audio, &format!("radio/{NAME}.mp4"));
    sandbox.put(&made("webm", 2), &format!("web/{NAME}.webm"));
    sandbox.put(&made("mp4", 4), &format!("change/{NAME}.mp4"));
    sandbox.put(&made("mp4-h265", 4), "change/2026-03-04_14-30-19-000000.mp4");
    sandbox.put(&made("mp4", 2), &format!("away/{NAME}.mp4"));
    sandbox.process().expect_code(0);
    let source = file_of(&sandbox, "radio");
    remove_with_its_copy(&sandbox, &file_of(&sandbox, "away"));
    let playing = Playing::new(sandbox);
    for span in [(0.0, 2.0), (3.41, 7.25), (10.2, 30.0)] {
        let copy = playing.sandbox.path().join("copy.mp4");
        copied(&source, span, &copy);
        let clip = playing.clip("radio", span, "mp4");
        let mut truth = payloads(&copy, "audio");
        if span.0 == 0.0 {
            // ffmpeg leaves out the packet before zero, which AAC decoders need for the first one behind it.
            truth.insert(0, payloads(&source, "audio").swap_remove(0));
        }
        assert_eq!(payloads(&clip, "audio"), truth, "{span:?}");
    }
    let cases = [
        (target("nobody", (0.0, 1.0), "mp4"), 404, "no recording of the stream"),
        (target("radio", (5.0, 5.0), "mp4"), 400, "at or before its start"),
        (target("radio", (5.0, 4.0), "mp4"), 400, "at or before its start"),
        (target("radio", (50.0, 60.0), "mp4"), 404, "the last recording before ends at 2026-03-04T14:30:27"),
        (target("radio", (-9.0, -1.0), "mp4"), 404, "no recording"),
        (target("radio", (0.0, 1e7), "mp4"), 400, "longer than"),
        (target("radio", (0.0, 1.0), "avi"), 400, "unknown format"),
        (target("web", (0.0, 1.0), "mp4"), 422, "webm"),
        (target("away", (0.0, 1.0), "mp4"), 502, "it is missing"),
        (target("change", (0.0, 7.0), "mp4"), 422, "changes from h264 to hevc at 2026-03-04T14:30:19Z"),
        ("/api/v1/streams/radio/clip?start=1".to_owned(), 400, "end"),
        ("/api/v1/streams/radio/clip?start=1&end=never".to_owned(), 400, "no time"),
        ("/api/v1/streams/radio/timeline?from=9&to=3".to_owned(), 400, "at or before"),
        ("/api/v1/streams/nobody/timeline".to_owned(), 404, "no recording"),
    ];
    for (target, status, words) in cases {
        let answer = playing.get(&target);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/problem+json")),
            "{target}: {answer:?}"
        );
        assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{target}: {answer:?}");
    }
    let timeline = playing.get("/api/v1/streams/change/timeline").json();
    let spans = timeline["spans"].as_array().unwrap();
    assert_eq!((spans.len(), timeline["gaps"].as_array().map(Vec::len)), (2, Some(0)), "{timeline}");
    let codec = ["-select_streams", "v:0", "-show_entries", "stream=codec_name", "-of", "csv=p=0"];
    for (span, name) in spans.iter().zip(["h264", "hevc"]) {
        let clip = playing.get(&format!("/api/v1/streams/change/clip?start={}&end={}", span["startMs"], span["endMs"]));
        assert_eq!(clip.status, 200, "{span}: {}", String::from_utf8_lossy(&clip.body));
        let path = playing.sandbox.path().join("span.mp4");
        fs::write(&path, &clip.body).unwrap();
        assert_eq!((decode_errors(&path), probed(&path, &codec)), (String::new(), name.to_owned()), "{span}");
    }
    let part = playing.clip("change", (4.5, 7.0), "mp4");
    assert_eq!(decode_errors(&part), "");
}

#[test]
fn a_picture_size_that_changes_between_recordings_is_another_description() {
    let sandbox = next_to_mediamtx("");
    let other = sandbox.path().join("other.mp4");
    let pictures_of = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=15:d=4", "-f", "lavfi", "-i", "sine=r=48000:d=4"];
    let codecs =
        ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "15", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    ffmpeg(&[&pictures_of[..], &codecs, &[other.to_str().unwrap()]].concat());
    sandbox.put(&made("mp4", 4), &format!("size/{NAME}.mp4"));
    sandbox.put(&other, "size/2026-03-04_14-30-19-100000.mp4");
    sandbox.process().expect_code(0);
    let playing = Playing::new(sandbox);
    let clip = playing.clip("size", (2.0, 6.0), "mp4");
    assert_eq!(decode_errors(&clip), "");
    let widths = widths(&clip);
    let of = |width: &str| widths.iter().filter(|known| *known == width).count();
    assert_eq!((of("160"), of("160") + of("320")), (30, widths.len()), "{widths:?}");
    assert!((27..=29).contains(&of("320")), "{widths:?}");

    // FFmpeg and Chromium would decode all fragments with the parameters of the first recording.
    let answer = playing.get(&target("size", (2.0, 6.0), "fmp4"));
    assert_eq!((answer.status, answer.header("content-type")), (422, Some("application/problem+json")));
    let said = answer.json();
    let words = "the parameters of the h264 track change at 2026-03-04T14:30:19.";
    assert!(said["detail"].as_str().unwrap().starts_with(words), "{said}");
    assert!(said["nextStep"].as_str().unwrap().contains("format=mp4"), "{said}");
    for span in [(2.0, 4.0), (5.0, 7.0)] {
        let part = playing.clip("size", span, "fmp4");
        assert_eq!(decode_errors(&part), "", "{span:?}");
    }
    let get = "/get?path=size&start=2026-03-04T14:30:17Z&duration=4";
    assert_eq!(playing.get(&format!("{get}&format=fmp4")).status, 422);
    let chosen = playing.get(get);
    assert!((chosen.status, &chosen.body[..]) == (200, &fs::read(&clip).unwrap()[..]), "{}", chosen.head);
}

/// How wide each picture that is shown is, pixels.
fn widths(path: &Path) -> Vec<String> {
    let text = probed(path, &["-select_streams", "v", "-show_entries", "frame=width", "-of", "compact=p=0"]);
    text.lines().filter_map(|line| line.strip_prefix("width=")?.split('|').next()).map(str::to_owned).collect()
}

fn probed(path: &Path, options: &[&str]) -> String {
    let run = Command::new("ffprobe").args(["-v", "error"]).args(options).arg(path).output().unwrap();
    String::from_utf8(run.stdout).unwrap().trim().to_owned()
}

#[test]
fn chromium_plays_a_clip_and_goes_to_a_time_in_it() {
    let sandbox = next_to_mediamtx("");
    sandbox.put(&made("mp4-fragmented", 12), &format!("cam/{NAME}.mp4"));
    sandbox.put(&made("mp4-fragmented", 5), "cam/2026-03-04_14-30-30-000000.mp4");
    sandbox.process().expect_code(0);
    let playing = Playing::new(sandbox);
    for format in ["mp4", "fmp4"] {
        for (span, to) in [((3.41, 9.25), 4.0), ((8.41, 19.0), 8.0)] {
            let clip = playing.clip("cam", span, format);
            if let Some(at) = seek_in_chromium(&clip, playing.sandbox.path(), to) {
                assert!(at > to && at < span.1 - span.0 + 0.2, "{format} {span:?}: {at}");
            }
        }
    }
}
