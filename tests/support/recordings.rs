//! Recordings made by ffmpeg, once per test run, and the ways in which a crash damages them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

/// Where made recordings are kept for one test process.
fn workshop() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// Runs ffmpeg and fails with what it said.
#[track_caller]
pub fn ffmpeg(args: &[&str]) {
    let run = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(args).output().unwrap();
    assert!(run.status.success(), "ffmpeg {args:?}: {}", String::from_utf8_lossy(&run.stderr));
}

const H264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 15 -pix_fmt yuv420p";
const H265: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=15 -pix_fmt yuv420p";

/// Makes a recording of `seconds` by name of its recipe; the same recipe is made once.
pub fn made(recipe: &str, seconds: u32) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (codecs, format, extension) = match recipe {
        "mp4" => (format!("{H264} -c:a aac"), "-f mp4", "mp4"),
        "mp4-faststart" => (format!("{H264} -c:a aac"), "-movflags +faststart -f mp4", "mp4"),
        "mp4-fragmented" => (format!("{H264} -c:a aac"), "-movflags frag_keyframe+empty_moov -f mp4", "mp4"),
        "mp4-vp9" => ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus".into(), "-f mp4", "mp4"),
        "mp4-h265" => (format!("{H265} -tag:v hvc1 -c:a aac"), "-f mp4", "mp4"),
        "mp4-mp3" => (format!("{H264} -c:a libmp3lame"), "-f mp4", "mp4"),
        "mp4-ac3" => (format!("{H264} -c:a ac3"), "-f mp4", "mp4"),
        "mp4-eac3" => (format!("{H264} -c:a eac3"), "-f mp4", "mp4"),
        "mp4-opus" => (format!("{H264} -c:a libopus"), "-f mp4", "mp4"),
        "mov-pcm" => (format!("{H264} -c:a pcm_s16le"), "-f mov", "mov"),
        "mp4-mpeg4" => ("-c:v mpeg4 -g 15 -c:a aac".into(), "-f mp4", "mp4"),
        "mp4-av1-opus" => ("-c:v libsvtav1 -preset 12 -g 15 -c:a libopus".into(), "-f mp4", "mp4"),
        "mp4-av1" => ("-c:v libsvtav1 -preset 12 -g 15 -c:a aac".into(), "-f mp4", "mp4"),
        // Hidden pictures, and such that are shown again.
        "mp4-av1-hidden" => (
            "-c:v libaom-av1 -cpu-used 8 -lag-in-frames 19 -auto-alt-ref 1 -b:v 60k -g 30 -c:a aac".into(),
            "-f mp4",
            "mp4",
        ),
        "mov-mjpeg" => ("-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le".into(), "-f mov", "mov"),
        "mp4-mjpeg" => ("-c:v mjpeg -pix_fmt yuvj422p -c:a aac".into(), "-f mp4", "mp4"),
        "mov-prores" => ("-c:v prores_ks -c:a pcm_s24le".into(), "-f mov", "mov"),
        "mp4-flac" => (format!("{H264} -c:a flac"), "-f mp4 -strict -2", "mp4"),
        "mp4-dts" => (format!("{H264} -c:a dca"), "-f mp4 -strict -2", "mp4"),
        "mov-alac" => (format!("{H264} -c:a alac"), "-f mov", "mov"),
        "mp4-inband" => (format!("{H264} -c:a aac"), "-bsf:v dump_extra=freq=keyframe -f mp4", "mp4"),
        "flv" => (format!("{H264} -c:a aac"), "-f flv", "flv"),
        "flv-h263" => ("-c:v flv1 -an".into(), "-f flv", "flv"),
        "ts" => (format!("{H264} -c:a aac"), "-f mpegts", "ts"),
        "ts-mp2" => (format!("{H264} -c:a mp2"), "-f mpegts", "ts"),
        "mkv" => (format!("{H264} -c:a aac"), "-f matroska", "mkv"),
        "mkv-vp9" => ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus".into(), "-f matroska", "mkv"),
        "webm" => ("-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis".into(), "-f webm", "webm"),
        "webm-vp9" => ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus".into(), "-f webm", "webm"),
        "webm-live" => ("-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis".into(), "-live 1 -f webm", "webm"),
        other => panic!("no recipe {other}"),
    };
    let path = workshop().join(format!("{recipe}-{seconds}.{extension}"));
    if !path.exists() {
        let video = format!("testsrc2=s=160x120:r=15:d={seconds}");
        let audio = format!("sine=f=440:b=2:r=48000:d={seconds}");
        let mut args = vec!["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio, "-map", "0:v", "-map", "1:a"];
        args.extend(codecs.split(' '));
        args.extend(format.split(' '));
        let unfinished = path.with_extension("making");
        args.push(unfinished.to_str().unwrap());
        ffmpeg(&args);
        fs::rename(&unfinished, &path).unwrap();
    }
    path
}

/// A copy that stops after `share` of its bytes, as a writer that died leaves it.
pub fn cut(path: &Path, share: f64) -> PathBuf {
    let bytes = fs::read(path).unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share")]
    let keep = (bytes.len() as f64 * share) as usize;
    let to = path.with_file_name(format!("cut-{}", path.file_name().unwrap().to_string_lossy()));
    fs::write(&to, &bytes[..keep]).unwrap();
    to
}

/// A crashed MP4: `ftyp`, `free`, `mdat` of size 0 and no `moov`.
pub fn without_moov(mp4: &Path) -> PathBuf {
    let bytes = fs::read(mp4).unwrap();
    let moov = bytes.windows(4).rposition(|w| w == b"moov").unwrap() - 4;
    let to = mp4.with_file_name(format!("crashed-{}", mp4.file_name().unwrap().to_string_lossy()));
    fs::write(&to, &bytes[..moov]).unwrap();
    to
}

/// A copy with some of its bytes zero, as a lost block leaves it.
pub fn zeroed(path: &Path, range: std::ops::Range<usize>) -> PathBuf {
    let mut bytes = fs::read(path).unwrap();
    bytes[range.clone()].fill(0);
    let name = format!("zeroed-{}-{}", range.start, path.file_name().unwrap().to_string_lossy());
    let to = path.with_file_name(name);
    fs::write(&to, &bytes).unwrap();
    to
}

/// One line per packet of a file, by ffprobe: stream kind, pts, dts, size and payload hash.
pub fn packets(path: &Path) -> Vec<String> {
    const FIELDS: [&str; 5] = ["codec_type", "pts_time", "dts_time", "size", "data_hash"];
    let line = |packet: &Value| {
        let field = |name: &str| format!("{name}={}", packet[name].as_str().unwrap_or("N/A"));
        FIELDS.map(field).join("|")
    };
    packets_with(path, &FIELDS, &[]).iter().map(line).collect()
}

/// Fields of the packets of a file as ffprobe reads it with options. By JSON: in other formats side data tears the fields of a packet
/// apart.
pub fn packets_with(path: &Path, fields: &[&str], options: &[&str]) -> Vec<Value> {
    let run = Command::new("ffprobe")
        .args(["-v", "error", "-show_packets", "-show_data_hash", "md5", "-of", "json"])
        .args(["-show_entries", &format!("packet={}", fields.join(","))])
        .args(options)
        .arg(path)
        .output()
        .unwrap();
    assert!(run.status.success(), "ffprobe {}: {}", path.display(), String::from_utf8_lossy(&run.stderr));
    let said: Value = serde_json::from_slice(&run.stdout).unwrap();
    said["packets"].as_array().cloned().unwrap_or_default()
}

/// What ffmpeg says while it decodes everything; empty when all is well.
pub fn decode_errors(path: &Path) -> String {
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0", "-f", "null", "-"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&run.stderr).into_owned()
}

/// Duration that ffprobe reports, in seconds.
pub fn duration_s(path: &Path) -> f64 {
    let run = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&run.stdout).trim().parse().unwrap_or(0.0)
}

/// A complete recording, made different from every other and of at least a size by a `free` box at its end.
pub fn padded(name: &str, at_least: usize) -> Vec<u8> {
    let mut bytes = fs::read(made("mp4-faststart", 2)).unwrap();
    let mut body = name.as_bytes().to_vec();
    body.resize(body.len().max(at_least.saturating_sub(bytes.len())), b'.');
    bytes.extend(u32::try_from(body.len() + 8).unwrap().to_be_bytes());
    bytes.extend(b"free");
    bytes.extend(body);
    bytes
}
