//! Pictures whose samples are not square: the finished file says how wide they are shown, as FFmpeg's copy does.

use super::*;
use crate::isobmff::PixelAspect;

const H264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-an"];
const H265: &[&str] = &[
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=none",
    "-pix_fmt",
    "yuv420p",
    "-tag:v",
    "hvc1",
    "-an",
];

fn ffmpeg(arguments: &[&str], output: &Path) {
    let run =
        Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(output).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Half a second of pictures, their samples of that aspect ratio.
fn shaped(output: &Path, ratio: &str, encoder: &[&str]) {
    let filter = format!("setsar={ratio}");
    let source = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=0.5", "-vf", &filter];
    ffmpeg(&[&source, encoder].concat(), output);
}

/// What is said of how the pictures are shown: the width in 16.16 fixed point, and the ratio.
fn shown(movie: &Movie) -> (u32, Option<PixelAspect>) {
    let track = &movie.tracks[0];
    (track.header.width(), track.entry().unwrap().aspect.filter(|aspect| !aspect.is_square()))
}

/// The samples of an MP4 with H.265 as an encoder of enhanced RTMP sends them, which FFmpeg 5.1 cannot write.
fn enhanced(mp4: &Path, flv: &Path) {
    let (movie, bytes) = (movie_of(mp4), std::fs::read(mp4).unwrap());
    let track = &movie.tracks[0];
    let raw = track.descriptions.raw();
    let at = raw.windows(4).position(|name| name == b"hvcC").unwrap();
    let length = u32::from_be_bytes(raw[at - 4..at].try_into().unwrap()) as usize;
    let mut tags = tag(0, &[b"\x90hvc1", &raw[at + 4..at - 4 + length]].concat());
    for sample in track.samples() {
        let ms = |ticks: i64| i32::try_from(ticks * 1000 / i64::from(track.timescale())).unwrap();
        let head = [if sample.is_sync { 0x91 } else { 0xA1 }, b'h', b'v', b'c', b'1'];
        let from = usize::try_from(sample.offset).unwrap();
        let content = &bytes[from..from + sample.size_bytes as usize];
        let composition = ms(sample.pts - sample.dts).to_be_bytes();
        tags.extend(tag(ms(sample.dts), &[&head, &composition[1..], content].concat()));
    }
    std::fs::write(flv, [&b"FLV\x01\x01\0\0\0\x09\0\0\0\0"[..], &tags].concat()).unwrap();
}

fn tag(time_ms: i32, body: &[u8]) -> Vec<u8> {
    let (length, time) = (u32::try_from(body.len()).unwrap(), time_ms.to_be_bytes());
    let head = [&[9][..], &length.to_be_bytes()[1..], &[time[1], time[2], time[3], time[0], 0, 0, 0]].concat();
    [&head, body, &(length + 11).to_be_bytes()[..]].concat()
}

#[test]
fn h265_is_shown_as_wide_as_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let (mp4, flv) = (directory.path().join("x.mp4"), directory.path().join("x.flv"));
    for ratio in ["1", "0", "4/3", "16/11", "7/9"] {
        shaped(&mp4, ratio, H265);
        enhanced(&mp4, &flv);
        assert_eq!(shown(&indexed(&flv, ratio).movie), shown(&movie_of(&mp4)), "{ratio}");
    }
    let deep = "log-level=none:scaling-list=default:ref=5:bframes=4:b-pyramid=1:hrd=1:vbv-bufsize=500:vbv-maxrate=500";
    let encoder = H265.iter().map(|word| if word.starts_with("log-level") { deep } else { word });
    shaped(&mp4, "12/11", &encoder.collect::<Vec<_>>());
    enhanced(&mp4, &flv);
    assert_eq!(shown(&indexed(&flv, "scaling lists").movie), shown(&movie_of(&mp4)));
}

#[test]
fn h264_is_shown_as_wide_as_a_copy_shows_it() {
    let directory = tempfile::tempdir().unwrap();
    let (flv, copy) = (directory.path().join("x.flv"), directory.path().join("x.mp4"));
    for ratio in ["1", "0", "4/3", "16/11", "7/9"] {
        shaped(&flv, ratio, H264);
        ffmpeg(&["-i", flv.to_str().unwrap(), "-c", "copy"], &copy);
        assert_eq!(shown(&indexed(&flv, ratio).movie), shown(&movie_of(&copy)), "{ratio}");
    }
}
