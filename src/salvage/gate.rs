//! Whether parameter sets belong to the media: numbers of slice headers read with the wrong ones do not follow on
//! each other, however well the structure around them holds.

use super::nal::CodecParameters;
use super::order::PictureOrder;
use super::walk::WalkResult;

/// Pictures that are needed for a judgement.
const FEW: usize = 4;
/// How many in a hundred pictures may fail.
const FAILURES_PERCENT: usize = 5;
/// No stream lags by more pictures (H.264 §A.3.1, H.265 §A.4.1).
const MOST_LAG: i64 = 16;

/// Whether the parameter sets that a walk used fit what it found. Too few pictures are given the benefit of the doubt.
pub fn fits(walked: &WalkResult) -> bool {
    if matches!(walked.parameters, Some(CodecParameters::Visual(_))) {
        return true; // start codes say more than numbers could
    }
    let frames = &walked.frames;
    let unreadable = frames.iter().filter(|frame| frame.order().is_none()).count();
    let inconsistent = frames.iter().filter(|frame| frame.order().is_some() && !frame.is_consistent()).count();
    let excused = walked.gaps.len();
    if frames.len() <= FEW {
        return unreadable == 0;
    }
    if (unreadable + inconsistent).saturating_sub(excused) * 100 > frames.len() * FAILURES_PERCENT {
        return false;
    }
    let gaps: Vec<usize> = walked.gaps.iter().map(|gap| gap.frames_before).collect();
    let period = walked.parameters.as_ref().map_or(0, CodecParameters::order_period);
    let order = PictureOrder::of(frames, period, &gaps);
    let count = i64::try_from(frames.len()).unwrap_or(i64::MAX);
    let is_near = |(number, place): &(i64, &Option<i32>)| place.is_some_and(|p| i64::from(p) <= number + count.max(64));
    order.lag <= MOST_LAG && (0..).zip(&order.places).filter(is_near).count() * 100 >= frames.len() * 90
}
