//! Sound that is not coded beside pictures: quiet samples are small numbers, and small numbers are lengths and headers of units.

use std::process::Command;

use super::*;
use crate::recording::TrackKind::Video;

/// Pictures of so many seconds in a codec.
fn pictures(codec: &str, seconds: u32) -> (Movie, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.mp4");
    let source = format!("testsrc2=s=320x180:r=25:d={seconds},noise=alls=8:allf=t:all_seed=1");
    let mut run = Command::new("ffmpeg");
    run.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &source]).args(codec.split(' ')).arg(&path);
    assert!(run.status().unwrap().success());
    let bytes = std::fs::read(&path).unwrap();
    (movie_of(&bytes), bytes)
}

/// How samples are stored: bytes of one, and whether the most significant comes first.
const FORMATS: [(u32, bool); 7] = [(1, true), (2, true), (2, false), (3, true), (3, false), (4, true), (4, false)];

/// Noise in samples of so many bytes that are not greater than `loud` of 2^23, with the bits below.
fn noise(seed: u32, loud: u32, (sample_bytes, is_big): (u32, bool), samples: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut bytes = Vec::with_capacity(samples * sample_bytes as usize);
    for _ in 0..samples {
        let range = i64::from(loud) * 2 + 1;
        let sample = (i64::from(next()) % range - i64::from(loud)) << 8;
        let all = i32::try_from(sample).unwrap().to_be_bytes();
        let mut kept = all[..sample_bytes as usize].to_vec();
        if !is_big {
            kept.reverse();
        }
        bytes.extend(kept);
    }
    bytes
}

#[test]
fn quiet_samples_are_no_pictures() {
    for codec in [
        "-c:v libx264 -preset veryfast -bf 0 -g 25 -pix_fmt yuv420p",
        "-c:v libx264 -preset veryfast -bf 2 -g 25 -pix_fmt yuv420p -x264-params slices=2",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25:bframes=2 -pix_fmt yuv420p",
    ] {
        let (movie, bytes) = pictures(codec, 4);
        let samples: Vec<_> = movie.tracks.iter().find(|track| track.kind() == Video).unwrap().samples().collect();
        let known = Reference::of(&movie_of(SOUND), Origin::Given).hypothesis();
        for (number, format) in (0_u32..).zip(FORMATS) {
            for loud in [0, 1, 3, 20, 300, 3_000, 40_000, 2_000_000] {
                let mut hypothesis = Reference::of(&movie, Origin::Given).hypothesis();
                hypothesis.audio = known.audio.clone();
                hypothesis.audio[0].sound = element::Sound::Pcm { block_bytes: format.0 };
                let (mut media, mut truth) = (Vec::new(), Vec::new());
                for (index, sample) in (0_u32..).zip(&samples) {
                    let at = usize::try_from(sample.offset).unwrap();
                    truth.push((media.len() as u64, sample.size_bytes));
                    media.extend(&bytes[at..at + sample.size_bytes as usize]);
                    // As FFmpeg writes it: packets of 1024 samples, of 8 kHz to each third picture.
                    if index % 3 == 0 {
                        media.extend(noise(index + 100 * number + loud, loud, format, 1024));
                    }
                }
                let mut source = Source::new(Cursor::new(&media), media.len() as u64);
                let walked = walk::walk(&mut source, 0..media.len() as u64, &hypothesis);
                let found: Vec<_> = walked.frames.iter().map(|frame| (frame.offset(), frame.size_bytes)).collect();
                let what = format!("{codec}: {format:?} {loud}");
                for (found, truth) in found.iter().zip(&truth) {
                    assert_eq!(found, truth, "{what}");
                }
                // The last samples may be all that is behind the last picture.
                assert!(found.len() == truth.len(), "{} of {}: {what}", found.len(), truth.len());
            }
        }
    }
}
