//! Recordings in roots that several nodes share: each is asked for in the fleet database before it is begun, and told to be finished
//! there before it is catalogued here.
//!
//! ```text
//! settled ─▶ claimer (asks, on a thread of its own) ─▶ pool ─▶ journey ─▶ publish: noted · linked · done · catalogued
//! ```
//!
//! The database is never asked by a thread that finds recordings. No lock of the file system is used, and nothing is finished in
//! place.

mod claimer;
mod claims;
mod publishing;

pub(super) use claimer::{Claimer, clear_former, may_be_tried_again};
pub(super) use claims::{HeldClaim, SharedClaims};
pub(super) use publishing::{begin, is_published_before, publish, require_claim, resume};
