//! Whether a file is whole, by what its container declares. libavformat ends cleanly on a cut file and says nothing.
//!
//! Small pure readers over `Read + Seek` that look at the structure near the end only. ISO base media is the
//! business of `isobmff`; here it counts as whole.

pub mod flv;
pub mod matroska;
pub mod mpegts;

use std::fs::File;
use std::io;
use std::path::Path;

use crate::recording::Container;

/// What the end of a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// What is missing, in words; none means that the file ends where a unit ends.
    pub missing: Option<String>,
    /// Duration that the container declares, milliseconds, where libavformat does not tell it from a guess.
    pub declared_ms: Option<i64>,
    /// MPEG-TS: PIDs whose last unit is cut and has to be left out.
    pub cut_pids: Vec<u16>,
}

/// Looks at the end of a file. `near` is the position of the last packet that was read, or 0.
pub fn tail(path: &Path, container: Container, near: u64) -> io::Result<Tail> {
    let mut file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    match container {
        Container::Flv => flv::tail(&mut file, size_bytes, near),
        Container::MpegTs => mpegts::tail(&mut file, size_bytes),
        Container::Webm | Container::Matroska => matroska::tail(&mut file, size_bytes, near),
        Container::Mp4 | Container::Mov => Ok(Tail::default()),
    }
}
