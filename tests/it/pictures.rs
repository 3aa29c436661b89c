//! Pictures show what the recording shows, and a recording that is hostile to decoders costs its picture and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{ffmpeg, made, without_moov};
use crate::support::{Sandbox, standard_config};

/// How alike two pictures must be, 1 being the same.
const ALIKE: f64 = 0.95;

fn studio(more: &str) -> Sandbox {
    Sandbox::with_config(|dir| standard_config(dir, &format!("[pictures]\nquality = 95\n{more}")))
}

/// Makes a recording in the root from filters and options of ffmpeg.
pub fn record(sandbox: &Sandbox, name: &str, video: &str, options: &str) -> PathBuf {
    let to = sandbox.root().join(name);
    let arguments: Vec<&str> = ["-f", "lavfi", "-i", video].into_iter().chain(options.split_whitespace()).collect();
    ffmpeg(&[&arguments[..], &[to.to_str().unwrap()]].concat());
    to
}

fn vod_named(sandbox: &Sandbox, name: &str) -> Value {
    let vods = sandbox.vods();
    let vod = vods.iter().find(|vod| vod["vodName"] == name);
    vod.unwrap_or_else(|| panic!("no {name} in {vods:?}")).clone()
}

/// The poster of a recording and when its frame is presented.
fn poster_of(sandbox: &Sandbox, name: &str) -> (PathBuf, Value, i64) {
    let vod = vod_named(sandbox, name);
    let poster = vod["pictures"]["poster"].clone();
    let path = PathBuf::from(poster["path"].as_str().unwrap_or_else(|| panic!("no poster: {vod}")));
    assert_eq!(vod["previewFilePath"].as_str(), path.to_str());
    (path, poster.clone(), poster["shows"]["frame"]["atMs"].as_i64().unwrap_or(-1))
}

fn size_of(poster: &Value) -> (i64, i64) {
    (poster["width"].as_i64().unwrap(), poster["height"].as_i64().unwrap())
}

/// What ffmpeg makes of the frame at a time, with more filters, in a size.
fn reference(recording: &Path, at_ms: i64, more: &str, (width, height): (i64, i64)) -> PathBuf {
    let to = recording.with_extension("reference.png");
    let at = f64::from(i32::try_from(at_ms).unwrap()) / 1000.0 - 0.004;
    let filter = format!(
        "select=gte(t\\,{at}){more},scale={width}:{height}:flags=bicubic+accurate_rnd+full_chroma_int,format=rgb24"
    );
    let arguments = ["-i", recording.to_str().unwrap(), "-vf", &filter, "-frames:v", "1", to.to_str().unwrap()];
    ffmpeg(&arguments);
    to
}

/// Structural similarity of two pictures, by ffmpeg, in the samples that JPEG has.
fn ssim(a: &Path, b: &Path) -> f64 {
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "info", "-i", a.to_str().unwrap(), "-i", b.to_str().unwrap()])
        .args(["-lavfi", "[0]format=yuv420p[a];[1]format=yuv420p[b];[a][b]ssim", "-f", "null", "-"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    let all = said.rsplit_once("All:").unwrap_or_else(|| panic!("{said}")).1;
    all.split_whitespace().next().unwrap().parse().unwrap()
}

/// A picture in a few pixels of RGB, after a filter.
fn pixels(path: &Path, filter: &str) -> Vec<u8> {
    let filter = format!("{filter},format=rgb24");
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-i", path.to_str().unwrap(), "-vf", &filter, "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert!(!run.stdout.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
    run.stdout
}

/// How far the colours of two pictures are apart at most, 0 to 255, in large pixels: a wrong matrix or range shows.
fn colours_apart(a: &Path, b: &Path) -> u8 {
    let [a, b] = [a, b].map(|path| pixels(path, "scale=16:9:flags=area+full_chroma_int+accurate_rnd"));
    a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

const H264: &str = "-c:v libx264 -preset veryfast -crf 16 -pix_fmt yuv420p";

/// Recordings of every kind of picture: colours, depths, shapes, codecs, and beginnings that show nothing.
fn corpus(sandbox: &Sandbox) {
    let test = "testsrc2=s=640x360:r=25:d=2";
    let large = "testsrc2=s=1280x720:r=25:d=2";
    let plain = record(sandbox, "plain.mp4", test, &format!("{H264} -g 25"));
    record(sandbox, "large.mp4", large, &format!("{H264} -colorspace bt709 -color_primaries bt709 -color_trc bt709"));
    record(sandbox, "ten.mp4", test, "-c:v libx264 -preset veryfast -crf 16 -pix_fmt yuv420p10le");
    record(
        sandbox,
        "ten265.mp4",
        test,
        "-c:v libx265 -preset ultrafast -crf 16 -x265-params log-level=none -pix_fmt yuv420p10le -tag:v hvc1",
    );
    record(sandbox, "full.mp4", test, "-c:v libx264 -preset veryfast -crf 16 -pix_fmt yuvj420p -color_range pc");
    record(sandbox, "anamorphic.mp4", "testsrc2=s=720x576:r=25:d=2,setsar=64/45", H264);
    record(sandbox, "vp9.webm", test, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -crf 20 -b:v 0");
    record(sandbox, "vp8.webm", test, "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 4M");
    record(sandbox, "av1.mp4", test, "-c:v libsvtav1 -preset 12 -crf 20 -g 25");
    record(sandbox, "stream.ts", test, &format!("{H264} -g 25 -f mpegts"));
    record(
        sandbox,
        "black.mp4",
        "color=black:s=640x360:r=25:d=3[a];testsrc2=s=640x360:r=25:d=3[b];[a][b]concat",
        &format!("{H264} -g 50"),
    );
    record(
        sandbox,
        "white.mp4",
        "color=white:s=640x360:r=25:d=1[a];testsrc2=s=640x360:r=25:d=3[b];[a][b]concat",
        &format!("{H264} -g 250"),
    );
    record(sandbox, "fade.mp4", "testsrc2=s=640x360:r=25:d=4,fade=in:0:50", &format!("{H264} -g 250"));
    let turned = sandbox.root().join("turned.mp4");
    let rotate =
        ["-i", plain.to_str().unwrap(), "-c", "copy", "-metadata:s:v:0", "rotate=90", turned.to_str().unwrap()];
    ffmpeg(&rotate);
}

#[test]
fn posters_are_what_ffmpeg_makes_of_the_same_frame() {
    let sandbox = studio("");
    corpus(&sandbox);
    sandbox.process().expect_code(0);
    let expected: [(&str, (i64, i64), std::ops::RangeInclusive<i64>); 14] = [
        ("plain.mp4", (640, 360), 0..=0),
        ("large.mp4", (854, 480), 0..=0),
        ("ten.mp4", (640, 360), 0..=0),
        ("ten265.mp4", (640, 360), 0..=0),
        ("full.mp4", (640, 360), 0..=0),
        ("anamorphic.mp4", (854, 480), 0..=0),
        ("vp9.webm", (640, 360), 0..=0),
        ("vp8.webm", (640, 360), 0..=0),
        ("av1.mp4", (640, 360), 0..=0),
        ("stream.mp4", (640, 360), 0..=80),
        ("turned.mp4", (270, 480), 0..=0),
        ("black.mp4", (640, 360), 2960..=3080),
        ("white.mp4", (640, 360), 960..=1080),
        ("fade.mp4", (640, 360), 80..=1200),
    ];
    for (name, size, at) in expected {
        let (path, poster, at_ms) = poster_of(&sandbox, name);
        assert_eq!(size_of(&poster), size, "{name}");
        assert!(at.contains(&at_ms), "{name}: {at_ms} ms");
        let alike = ssim(&path, &reference(&sandbox.root().join(name), at_ms, "", size));
        assert!(alike >= ALIKE, "{name}: {alike}");
        let apart = colours_apart(&path, &reference(&sandbox.root().join(name), at_ms, "", size));
        assert!(apart <= 6, "{name}: {apart}");
        let stem = name.rsplit_once('.').unwrap().0;
        assert_eq!(path, sandbox.root().join("previews").join(format!("{stem}.jpg")));
        assert_eq!(fs::read(&path).unwrap(), fs::read(sandbox.store().join(format!("previews/{stem}.jpg"))).unwrap());
    }
    let brightest = pixels(&poster_of(&sandbox, "fade.mp4").0, "scale=16:9:flags=area").into_iter().max().unwrap();
    assert!(brightest > 60, "{brightest}");
}

#[test]
fn high_dynamic_range_is_shown_in_the_light_of_a_screen() {
    let sandbox = studio("");
    // Grey steps of 0, 10, … 100 percent of PQ.
    let steps = "nullsrc=s=704x360:r=25:d=1,format=yuv420p10le,geq=lum='64+876*floor(X/64)/10':cb=512:cr=512";
    let hdr = "-c:v libx265 -preset ultrafast -crf 10 -pix_fmt yuv420p10le -tag:v hvc1 -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -x265-params log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc";
    let pq = record(&sandbox, "pq.mp4", steps, hdr);
    record(&sandbox, "hlg.mp4", steps, &hdr.replace("smpte2084", "arib-std-b67"));
    sandbox.process().expect_code(0);
    let levels = |name: &str| {
        let steps = pixels(&poster_of(&sandbox, name).0, "scale=11:1:flags=area");
        steps.as_chunks::<3>().0.iter().map(|[_, green, _]| *green).collect::<Vec<_>>()
    };
    let (pq_levels, hlg_levels) = (levels("pq.mp4"), levels("hlg.mp4"));
    for levels in [&pq_levels, &hlg_levels] {
        assert!(levels.is_sorted() && levels[0] <= 4 && levels[10] >= 250, "{levels:?}");
    }
    // 203 cd/m², the white of titles, is 58 % in PQ and 75 % in HLG: nearly white.
    assert!((95..=125).contains(&pq_levels[4]) && (238..=254).contains(&pq_levels[6]), "{pq_levels:?}");
    assert!((205..=240).contains(&hlg_levels[7]), "{hlg_levels:?}");
    // Taken for what it is not, PQ would be a pale picture: FFmpeg's own conversion is nearer.
    let tone = ",zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=mobius:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p";
    let (path, poster, at_ms) = poster_of(&sandbox, "pq.mp4");
    let alike = ssim(&path, &reference(&pq, at_ms, tone, size_of(&poster)));
    assert!(alike > 0.9, "{alike}");
}

#[test]
fn sound_alone_has_a_waveform_and_what_was_salvaged_a_frame() {
    let sandbox = studio("");
    record(&sandbox, "tone.mp4", "sine=f=440:r=48000:d=20,volume='if(lt(t,10),0.02,0.9)':eval=frame", "-c:a aac");
    let sound = sandbox.put(&made("mp4", 2), "before/monday.mp4");
    sandbox.run(&["process", sound.to_str().unwrap(), "--stream", "room1"]).expect_code(0);
    let crashed = sandbox.put(&without_moov(&made("mp4", 4)), "after/tuesday.mp4.tmp");
    sandbox.run(&["recover", crashed.to_str().unwrap(), "--stream", "room1"]).expect_code(0);
    sandbox.process().expect_code(0);

    let vod = vod_named(&sandbox, "tone.mp4");
    assert_eq!(vod["pictures"]["poster"]["shows"], "waveform", "{vod}");
    let (path, poster, _) = poster_of(&sandbox, "tone.mp4");
    assert_eq!(size_of(&poster), (854, 480));
    let bars = |x: i32| pixels(&path, &format!("crop=200:300:{x}:90,scale=1:1:flags=area"))[2];
    assert!(bars(600) > 2 * bars(50), "the second half is loud: {} {}", bars(50), bars(600));

    let salvaged = vod_named(&sandbox, "tuesday.mp4");
    assert_eq!(salvaged["salvaged"], true);
    let (path, poster, at_ms) = poster_of(&sandbox, "tuesday.mp4");
    let file = PathBuf::from(salvaged["filePath"].as_str().unwrap());
    assert!(ssim(&path, &reference(&file, at_ms, "", size_of(&poster))) >= ALIKE);
}

#[test]
fn a_sprite_sheet_shows_each_time_where_its_webvtt_says() {
    let sandbox = studio("sprite = true\nsprite_interval = \"2s\"\nformat = \"png\"\n");
    let recording = record(&sandbox, "long.mp4", "testsrc2=s=640x360:r=25:d=45", &format!("{H264} -g 50"));
    sandbox.process().expect_code(0);
    let vod = vod_named(&sandbox, "long.mp4");
    let sprite = &vod["pictures"]["sprite"];
    let tiles = &sprite["tiles"];
    assert_eq!((tiles["count"].as_i64(), tiles["columns"].as_i64()), (Some(23), Some(10)), "{vod}");
    assert_eq!((tiles["width"].as_i64(), tiles["height"].as_i64()), (Some(160), Some(90)));
    let index = fs::read_to_string(sprite["index"]["path"].as_str().unwrap()).unwrap();
    assert!(index.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nlong.sprite.jpg#xywh=0,0,160,90\n"), "{index}");
    assert!(index.contains("00:00:24.000 --> 00:00:26.000\nlong.sprite.jpg#xywh=320,90,160,90\n"), "{index}");
    let sheet = PathBuf::from(sprite["path"].as_str().unwrap());
    for (tile, at_ms) in [(0, 0), (7, 14_000), (12, 24_000), (22, 44_000)] {
        let part = sandbox.path().join("part.png");
        let crop = format!("crop=160:90:{}:{}", tile % 10 * 160, tile / 10 * 90);
        ffmpeg(&["-i", sheet.to_str().unwrap(), "-vf", &crop, part.to_str().unwrap()]);
        let alike = ssim(&part, &reference(&recording, at_ms, "", (160, 90)));
        assert!(alike > 0.9, "tile {tile}: {alike}");
        assert!(colours_apart(&part, &reference(&recording, at_ms, "", (160, 90))) <= 16, "tile {tile}");
    }
    for name in ["long.png", "long.sprite.jpg", "long.sprite.vtt"] {
        assert!(sandbox.store().join("previews").join(name).exists(), "{name} is delivered");
    }
    assert!(fs::read(sandbox.root().join("previews/long.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn pictures_leave_with_their_vod_and_are_made_up_for() {
    let sandbox = studio("");
    let quiet = sandbox.path().join("quiet.toml");
    let config = fs::read_to_string(sandbox.path().join("config.toml")).unwrap();
    fs::write(&quiet, config.replace("[pictures]", "[pictures]\nposter = false")).unwrap();
    sandbox.put(&made("mp4", 2), "a.mp4");
    sandbox.put(&made("webm", 2), "a.webm");
    let root = sandbox.root();
    let without = ["--config", quiet.to_str().unwrap(), "process", root.to_str().unwrap()];
    let run = Command::new(env!("CARGO_BIN_EXE_aftercast")).args(without).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    assert!(!root.join("previews").exists() && vod_named(&sandbox, "a.mp4")["pictures"].is_null());
    // What was finished without them gets them later; two recordings of one name do not share theirs.
    sandbox.process().expect_code(0);
    let (first, second) = (poster_of(&sandbox, "a.mp4").0, poster_of(&sandbox, "a.webm").0);
    assert!(first != second && first.exists() && second.exists());
    let written = crate::support::tree(&root);
    sandbox.process().expect_code(0);
    assert_eq!(crate::support::tree(&root), written, "and then nothing is written");
    let id = vod_named(&sandbox, "a.mp4")["vodId"].as_str().unwrap().to_owned();
    sandbox.run(&["vod", "delete", &id, "--yes"]).expect_code(0);
    assert!(!first.exists() && second.exists());
    assert!(!sandbox.store().join("previews").join(first.file_name().unwrap()).exists());
    // The preview of a server is taken as it is.
    sandbox.put(&made("mp4", 4), "b.mp4");
    fs::write(root.join("previews/b.png"), "of the server").unwrap();
    sandbox.process().expect_code(0);
    let vod = vod_named(&sandbox, "b.mp4");
    assert!(vod["pictures"].is_null() && vod["previewFilePath"].as_str().unwrap().ends_with("previews/b.png"), "{vod}");
}

#[test]
fn what_no_decoder_takes_is_finished_without_a_picture_and_says_why() {
    let sandbox = studio("memory = \"1MiB\"\n");
    sandbox.put(&made("mp4", 2), "starved.mp4");
    let run = sandbox.process().expect_code(0);
    let vod = vod_named(&sandbox, "starved.mp4");
    let why = vod["pictures"]["missing"].as_str().unwrap_or_else(|| panic!("{vod} {}", run.err));
    assert!(why.starts_with("no poster: "), "{why}");
    assert_eq!(vod["defects"].as_array().map(Vec::len), Some(0));
    assert!(sandbox.store().join("starved.mp4").exists(), "and delivered");
    // It is not tried again and again.
    assert!(!sandbox.process().expect_code(0).err.contains("picture not made"));
    // Unless somebody asks for it, with more memory.
    let config = sandbox.path().join("config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("memory = \"1MiB\"", "")).unwrap();
    let root = sandbox.root();
    sandbox.run(&["process", "--again", root.to_str().unwrap()]).expect_code(0);
    assert!(
        poster_of(&sandbox, "starved.mp4").0.exists()
            && vod_named(&sandbox, "starved.mp4")["pictures"]["missing"].is_null()
    );
}

/// A recording whose poster takes a decoder long: every frame of it is black.
fn dark(sandbox: &Sandbox, name: &str) {
    let to = sandbox.root().join(name);
    let hidden = sandbox.path().join("dark.mp4");
    let video = "color=black:s=1920x1080:r=25:d=120,noise=alls=6:allf=t";
    if !hidden.exists() {
        let options = "-c:v libx264 -preset ultrafast -crf 30 -g 250 -pix_fmt yuv420p";
        let arguments: Vec<&str> = ["-f", "lavfi", "-i", video].into_iter().chain(options.split_whitespace()).collect();
        ffmpeg(&[&arguments[..], &[hidden.to_str().unwrap()]].concat());
    }
    fs::copy(hidden, to).unwrap();
}

/// The processes whose parent this is, with what they were started as.
pub fn children_of(parent: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim() == parent.to_string())) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((id, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

pub fn worker_of(daemon: &Daemon) -> Option<u32> {
    children_of(daemon.id()).into_iter().find(|(_, command)| command.contains(" decoder ")).map(|(id, _)| id)
}

pub fn signal(process: u32, name: &str) {
    // It may have ended meanwhile.
    let _ = Command::new("kill").args(["-s", name, &process.to_string()]).output();
}

#[test]
fn a_decoder_that_dies_or_hangs_costs_its_picture_alone_and_has_limits() {
    let sandbox = studio("timeout = \"4s\"\n");
    let daemon = Daemon::start(&sandbox);
    dark(&sandbox, "dark.mp4");
    let fork = || children_of(worker_of(&daemon)?).first().map(|(id, _)| *id);
    let first = until("a decoder works", || {
        let fork = fork()?;
        let status = fs::read_to_string(format!("/proc/{fork}/status")).ok()?;
        // The limits hold before the first byte is read: seccomp is the last of them.
        status.lines().any(|line| line == "Seccomp:\t2").then_some((fork, status))
    });
    let limits = fs::read_to_string(format!("/proc/{}/limits", first.0)).unwrap();
    let soft = |name: &str| {
        limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned))
    };
    assert_eq!((soft("Max file size").as_deref(), soft("Max cpu time").as_deref()), (Some("0"), Some("4")));
    assert_eq!((soft("Max open files").as_deref(), soft("Max core file size").as_deref()), (Some("16"), Some("0")));
    assert!(soft("Max address space").unwrap().parse::<u64>().unwrap() < 8 << 30, "{limits}");
    assert!(first.1.contains("NoNewPrivs:\t1"));
    let environment = fs::read_to_string(format!("/proc/{}/environ", worker_of(&daemon).unwrap())).unwrap();
    assert!(
        environment
            .split('\0')
            .all(|line| ["", "LD_LIBRARY_PATH", "PATH", "MALLOC_ARENA_MAX"].contains(&line.split('=').next().unwrap())),
        "{environment}"
    );
    // It is tried once more, as it may have been killed from outside.
    let missing = |name: &str| {
        let vods = sandbox.vods();
        let vod = vods.iter().find(|vod| vod["vodName"] == name)?;
        vod["pictures"]["missing"].as_str().map(str::to_owned)
    };
    let mut killed = std::collections::BTreeSet::new();
    let why = until("the picture is given up", || {
        if let Some(fork) = fork().filter(|fork| !killed.contains(fork)) {
            signal(fork, "ABRT");
            killed.insert(fork);
        }
        missing("dark.mp4")
    });
    assert!(
        why.contains("no poster: the decoder was ended by signal 6 (SIGABRT)") && killed.len() == 2,
        "{why} {killed:?}"
    );

    // A worker that is killed between two jobs is replaced.
    signal(worker_of(&daemon).unwrap(), "KILL");
    sandbox.put(&made("mp4", 2), "next.mp4");
    until("the next has its poster", || sandbox.root().join("previews/next.jpg").exists().then_some(()));

    // One that does nothing any more is ended when its time is up.
    signal(worker_of(&daemon).unwrap(), "STOP");
    sandbox.put(&made("mp4", 4), "hung.mp4");
    let why = until("the picture is given up", || missing("hung.mp4"));
    assert_eq!(why, "no poster: the decoder took longer than 20 s and was ended");
    sandbox.put(&made("mp4-h265", 2), "after.mp4");
    until("the one behind has its poster", || sandbox.root().join("previews/after.jpg").exists().then_some(()));
    let worker = worker_of(&daemon).unwrap();

    // Nothing of it outlives the daemon.
    dark(&sandbox, "again.mp4");
    let last = until("a decoder works", fork);
    daemon.signal("KILL");
    let is_there = |id: u32| fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    until("decoder and worker are gone", || (!is_there(last) && !is_there(worker)).then_some(()));
}

#[test]
fn a_picture_that_a_restart_came_between_is_made_by_the_next_daemon() {
    let sandbox = studio("");
    let mut daemon = Daemon::start(&sandbox);
    dark(&sandbox, "dark.mp4");
    until("a decoder works", || children_of(worker_of(&daemon)?).first().map(|_| ()));
    sandbox.put(&made("mp4", 2), "behind.mp4");
    until("both are finished", || (sandbox.vods().len() == 2).then_some(()));
    daemon.signal("KILL");
    daemon.ended();
    let _daemon = Daemon::start(&sandbox);
    until("both have posters", || {
        let has = |name: &str| sandbox.root().join("previews").join(name).exists();
        (has("dark.jpg") && has("behind.jpg")).then_some(())
    });
    until("and are delivered", || sandbox.store().join("previews/dark.jpg").exists().then_some(()));
}

/// Changes some bytes, always the same ones for a seed.
fn mutated(bytes: &[u8], seed: u64, from: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 8).unwrap()
    };
    for _ in 0..8 + next() % 200 {
        let at = from + next() % (bytes.len() - from);
        bytes[at] = u8::try_from(next() % 256).unwrap();
    }
    bytes
}

#[test]
fn mutated_media_gives_a_picture_or_a_reason_and_never_ends_the_program() {
    let sandbox = studio("timeout = \"10s\"\nsprite = true\nsprite_interval = \"1s\"\n");
    for recipe in ["mp4", "mp4-h265", "mp4-av1", "mp4-vp9", "webm", "mp4-mpeg4", "mov-mjpeg"] {
        let sound = made(recipe, 2);
        let bytes = fs::read(&sound).unwrap();
        let extension = sound.extension().unwrap().to_str().unwrap();
        for seed in 0..6 {
            // The header stays as it is in most: what is hit then is what decoders read.
            let from = if seed == 0 { 0 } else { bytes.len() / 4 };
            let name = format!("{recipe}-{seed}.{extension}");
            fs::write(sandbox.root().join(name), mutated(&bytes, seed + 1, from)).unwrap();
        }
    }
    let run = sandbox.process();
    assert!([0, 4].contains(&run.code()), "{}\n{}", run.out, run.err);
    let vods = sandbox.vods();
    assert!(vods.len() > 20, "{}", vods.len());
    for vod in &vods {
        let pictures = &vod["pictures"];
        assert!(pictures["poster"].is_object() || pictures["missing"].is_string(), "{vod}");
    }
}
