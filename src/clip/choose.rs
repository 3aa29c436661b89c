//! Which VoDs a span of a stream is made of.

use super::error::ClipError;
use crate::catalog::{CatalogError, SharedCatalog};
use crate::recording::VodRecord;

/// How many VoDs in a row that end before the span are looked at before the search ends. Recordings of one stream follow one
/// another; where they overlap (renditions, a reconnect) a longer one may lie further back.
const LOOK_BACK: usize = 64;
/// VoDs of one answer at most.
pub const MOST_VODS: usize = 50_000;
/// The longest clip.
const MOST_HOURS: i64 = 7 * 24;

/// What a clip is made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClipFormat {
    /// One header in front of the media.
    #[default]
    Mp4,
    /// A header without samples, then fragments.
    Fragmented,
}

/// A clip that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClipRequest {
    /// Id of the stream.
    pub stream: String,
    /// Only recordings of this server's preset.
    pub server: Option<&'static str>,
    /// Only this rendition; if `None`, recordings without one, else those of the largest picture.
    pub rendition: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// The first millisecond that is not in it.
    pub end_ms: i64,
    /// What it is made into.
    pub format: ClipFormat,
}

impl ClipRequest {
    pub(super) fn check(&self) -> Result<(), ClipError> {
        let (start_ms, end_ms) = (self.start_ms, self.end_ms);
        if end_ms <= start_ms {
            return Err(ClipError::Reversed { start_ms, end_ms });
        }
        if end_ms.saturating_sub(start_ms) > MOST_HOURS * 3_600_000 {
            return Err(ClipError::TooLong { limit_hours: MOST_HOURS });
        }
        Ok(())
    }

    fn is_of_server(&self, vod: &VodRecord) -> bool {
        self.server.is_none_or(|server| vod.server == server)
    }
}

/// The VoDs of which a part lies in the span, by start time.
pub fn chosen(shared: &SharedCatalog, clip_request: &ClipRequest) -> Result<Vec<VodRecord>, ClipError> {
    let (mut found, mut before_ms, mut ended) = (Vec::new(), None::<i64>, 0);
    let mut is_known = false;
    for vod in shared.begun_before(&clip_request.stream, clip_request.end_ms)? {
        let vod = match vod {
            Err(CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. }) => continue,
            vod => vod?,
        };
        if !clip_request.is_of_server(&vod) {
            continue;
        }
        is_known = true;
        if end_of(&vod) > clip_request.start_ms {
            found.push(vod);
        } else {
            before_ms = before_ms.max(Some(end_of(&vod)));
            ended += 1;
        }
        if ended >= LOOK_BACK || found.len() > MOST_VODS {
            break;
        }
    }
    if found.len() > MOST_VODS {
        return Err(ClipError::Limit { what: "recordings", found: found.len() as u64, limit: MOST_VODS as u64 });
    }
    found.reverse();
    let found = of_one_rendition(found, clip_request.rendition.as_deref());
    match (found.is_empty(), is_known) {
        (false, _) => Ok(found),
        (true, true) => Err(gap(clip_request, before_ms)),
        (true, false) => Err(unknown_or_later(shared, clip_request)?),
    }
}

pub(super) fn gap(clip_request: &ClipRequest, before_ms: Option<i64>) -> ClipError {
    let (stream, start_ms, end_ms) = (clip_request.stream.clone(), clip_request.start_ms, clip_request.end_ms);
    ClipError::Gap { stream, start_ms, end_ms, before_ms }
}

/// Nothing begins before the end of the span: all recordings are later, or there are none.
fn unknown_or_later(shared: &SharedCatalog, clip_request: &ClipRequest) -> Result<ClipError, ClipError> {
    let later = shared.begun_before(&clip_request.stream, i64::MAX)?.next().transpose()?;
    let is_known = later.is_some_and(|vod| clip_request.is_of_server(&vod));
    Ok(if is_known { gap(clip_request, None) } else { ClipError::NoStream { stream: clip_request.stream.clone() } })
}

/// When the last sample of a VoD ends, milliseconds since the Unix epoch.
pub fn end_of(vod: &VodRecord) -> i64 {
    vod.start_time.saturating_add(vod.duration)
}

/// Renditions of one stream are recorded at the same time: one of them is taken.
pub fn of_one_rendition(vods: Vec<VodRecord>, rendition: Option<&str>) -> Vec<VodRecord> {
    let height = |vod: &VodRecord| vod.tracks.iter().filter_map(|track| track.height).max();
    let wanted = match rendition {
        Some(rendition) => Some(rendition.to_owned()),
        None if vods.iter().any(|vod| vod.rendition.is_none()) => None,
        None => vods.iter().max_by_key(|vod| height(vod)).and_then(|vod| vod.rendition.clone()),
    };
    vods.into_iter().filter(|vod| vod.rendition == wanted).collect()
}
