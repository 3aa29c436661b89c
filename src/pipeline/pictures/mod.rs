//! Pictures of finished recordings, made after everything else: no recording waits for one, and none fails by one.
//!
//! ```text
//! publishing ── id ─▶ requests ─▶ one thread, lowest priority ─▶ media::apart (a process with limits) ─▶ previews/NAME.jpg
//!                        ▲ a sweep over the catalogue, newest first:                                     ─▶ record, deliveries
//!                          what a restart, a full disk or an older version left without
//! ```
//!
//! Nothing is journalled: a record that has neither a picture nor a reason why not is one whose picture is still to be made.
//! The picture gets its name first, then record, deliveries and event change in one transaction; a picture that a cut left
//! between the two is found by its name and taken as it is.

mod files;
mod making;
mod options;
mod requests;
mod studio;

pub use files::remove_pictures;
pub(super) use making::{awaits, forget_failure};
pub use options::PictureOptions;
pub(super) use requests::Requests;
pub(super) use studio::Studio;
