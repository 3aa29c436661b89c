//! Whether a file is whole, by what its container declares. libavformat ends cleanly on a cut file and says nothing.
//!
//! Small pure readers over `Read + Seek` that look at the structure near the end only. ISO base media is the
//! business of `isobmff`; here it counts as whole.

pub mod flv;
pub mod matroska;
pub mod mpegts;
pub mod riff;
pub mod tags;
pub mod transport;

use std::io::{self, Read, Seek};
use std::path::Path;

use crate::isobmff;
use crate::recording::Container;

/// What the end of a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileTail {
    /// What is missing, in words; none means that the file ends where a unit ends.
    pub missing: Option<String>,
    /// Duration that the container declares, milliseconds, where libavformat does not tell it from a guess.
    pub declared_ms: Option<i64>,
    /// MPEG-TS: PIDs whose last unit is cut and has to be left out.
    pub cut_pids: Vec<u16>,
}

/// Looks at the end of a file. `near` is the position of the last packet that was read, or 0.
pub fn tail(path: &Path, container: Container, near: u64) -> io::Result<FileTail> {
    let mut file = crate::durable::open_to_read(path).map_err(|e| e.source)?;
    let size_bytes = file.metadata()?.len();
    let end = data_end(&mut file, container, size_bytes);
    let mut tail = match container {
        Container::Flv => flv::tail(&mut file, end, near),
        Container::MpegTs => mpegts::tail(&mut file, end),
        Container::Webm | Container::Matroska => matroska::tail(&mut file, end, near),
        Container::Wav | Container::Avi => riff::tail(&mut file, end),
        Container::Mp4 | Container::Mov | Container::Ogg | Container::Ivf | Container::Mp3 | Container::Aac => {
            Ok(FileTail::default())
        }
    }?;
    if end < size_bytes {
        let zeros = format!("the data in the last {} bytes, which are zeros", size_bytes - end);
        tail.missing = Some(tail.missing.into_iter().chain([zeros]).collect::<Vec<_>>().join(", "));
    }
    Ok(tail)
}

/// Where the data of a file ends: a power loss leaves zeros behind it, and no unit of these containers is made of them.
pub fn data_end(file: &mut (impl Read + Seek), container: Container, size_bytes: u64) -> u64 {
    // Silence is made of zeros, too.
    if container.is_iso() || container.is_kept() {
        return size_bytes;
    }
    let end = isobmff::end_of_data(file, size_bytes);
    // What cannot be read there shows when it is read.
    if file.rewind().is_ok() { end.unwrap_or(size_bytes) } else { size_bytes }
}
