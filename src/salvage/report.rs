//! What a salvage says about itself: everything that is in the result, and everything that is not. It goes into the
//! record of the finished file.

pub use crate::recording::Confidence;
pub use crate::recording::{SalvageGap as GapReport, SalvageReport as Report, SalvagedTrack as TrackReport};

/// Most gaps that are listed one by one.
pub const MAX_LISTED_GAPS: usize = 100;
