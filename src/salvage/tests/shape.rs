//! Pictures whose samples are not square are shown as wide again, where the media itself says how they are coded.

use std::process::Command;

use super::*;
use crate::isobmff::PixelAspect;

#[test]
fn parameter_sets_in_the_media_say_how_wide_pictures_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.mp4");
    let encoders: [&[&str]; 2] =
        [&["-c:v", "libx264"], &["-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hev1"]];
    for encoder in encoders {
        let run = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=1"])
            .args(["-vf", "setsar=16/11", "-pix_fmt", "yuv420p", "-g", "15", "-preset", "ultrafast"])
            .args(encoder)
            .args(["-bsf:v", "dump_extra=freq=keyframe"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let whole = std::fs::read(&path).unwrap();
        let broken = crashed(&whole);
        let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), broken.len() as u64, &[]).unwrap();
        assert_eq!(salvaged.verdict, SalvageVerdict::Playable, "{encoder:?}");
        let shown = |movie: &Movie| (movie.tracks[0].entry().unwrap().aspect, movie.tracks[0].header.width());
        assert_eq!(shown(&salvaged.movie), shown(&movie_of(&whole)), "{encoder:?}");
        assert_eq!(shown(&salvaged.movie).0, PixelAspect::new(16, 11), "{encoder:?}");
    }
}
