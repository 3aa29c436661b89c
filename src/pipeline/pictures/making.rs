//! The pictures of one VoD: what is missing is made, written, and put into its record.

use std::fs::File;
use std::time::Duration;

use tracing::{info, warn};

use super::files;
use super::options::PictureOptions;
use crate::catalog::CatalogError;
use crate::durable::{self, FileError};
use crate::fault::{Class, Fault as _, chain};
use crate::media::WantedPicture;
use crate::media::apart::{ApartError, Worker};
use crate::pipeline::context::PipelineContext;
use crate::pipeline::{freeing, queueing, roots};
use crate::recording::name::printable;
use crate::recording::{Fingerprint, PictureFile, Poster, Sprite, TrackKind, VOD_VERSION, VodRecord, url_of_name};

/// Height of the pictures of a sprite sheet, pixels.
const SPRITE_HEIGHT: u32 = 90;
/// Longer than this a local file is not kept for its pictures.
const HOLD: Duration = Duration::from_secs(3_600);

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing is missing any more, or nothing can be made.
    Done,
    /// It could not be made now; another time it may.
    Later,
}

/// What is missing of a VoD's pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Missing {
    poster: bool,
    sprite: bool,
}

impl Missing {
    fn of(vod: &VodRecord, options: &PictureOptions) -> Self {
        let is_open = vod.freed_at.is_none() && vod.pictures.missing.is_none();
        let has = |kind| vod.tracks.iter().any(|track| track.kind == kind);
        Self {
            poster: is_open
                && options.poster
                && vod.preview_file_path.is_none()
                && (has(TrackKind::Video) || has(TrackKind::Audio)),
            sprite: is_open && options.sprite && vod.pictures.sprite.is_none() && has(TrackKind::Video),
        }
    }

    const fn is_something(self) -> bool {
        self.poster || self.sprite
    }
}

/// Whether pictures of a VoD are still to be made.
pub(super) fn is_missing_some(ctx: &PipelineContext, vod: &VodRecord) -> bool {
    Missing::of(vod, &ctx.settings().pictures).is_something()
}

/// Whether the local file of a VoD is to stay a little for its pictures: without it there will never be any.
pub(in crate::pipeline) fn awaits(ctx: &PipelineContext, vod: &VodRecord, now_ms: i64) -> bool {
    let age_ms = now_ms.saturating_sub(vod.creation_date);
    let is_young = u128::from(age_ms.max(0).unsigned_abs()) < HOLD.as_millis();
    is_young && ctx.pictures.is_served() && is_missing_some(ctx, vod)
}

/// Forgets why pictures of a VoD could not be made, so that they are tried again.
pub(in crate::pipeline) fn forget_failure(ctx: &PipelineContext, vod_id: &str) -> Result<(), CatalogError> {
    let vod = ctx.catalog.shared().vod(vod_id)?;
    if vod.is_some_and(|vod| vod.pictures.missing.is_some()) {
        ctx.catalog.shared().update_vod(vod_id, |vod| vod.pictures.missing = None)?;
    }
    Ok(())
}

/// Makes what is missing of a VoD.
pub(super) fn make(ctx: &PipelineContext, worker: &mut Worker, vod_id: &str) -> Outcome {
    match make_missing(ctx, worker, vod_id) {
        Ok(outcome) => outcome,
        Err(error) => {
            warn!(vod_id, error = chain(&error), "cannot read or write the catalogue; pictures are made later");
            Outcome::Later
        }
    }
}

fn make_missing(ctx: &PipelineContext, worker: &mut Worker, vod_id: &str) -> Result<Outcome, CatalogError> {
    let options = ctx.settings().pictures;
    let Some(mut vod) = ctx.catalog.shared().vod(vod_id)? else { return Ok(Outcome::Done) };
    let missing = Missing::of(&vod, &options);
    if !missing.is_something() {
        return Ok(Outcome::Done);
    }
    if !roots::is_available(&ctx.roots, &vod.root) {
        return Ok(Outcome::Later);
    }
    if missing.poster {
        let made = match queueing::preview_of(&ctx.delivering, &vod) {
            Some(path) => Ok(Change::Preview(path)),
            None => attempt(ctx, worker, &vod, &options, "poster", poster),
        };
        match made {
            Ok(change) => match enter(ctx, &vod, &change)? {
                Some(now) => vod = now,
                None => return Ok(Outcome::Done),
            },
            Err(Refused::Later) => return Ok(Outcome::Later),
            Err(Refused::Gone) => return Ok(Outcome::Done),
        }
    }
    if missing.sprite && vod.pictures.missing.is_none() {
        match attempt(ctx, worker, &vod, &options, "sprite sheet", sprite) {
            Ok(change) => match enter(ctx, &vod, &change)? {
                Some(now) => vod = now,
                None => return Ok(Outcome::Done),
            },
            Err(Refused::Later) => return Ok(Outcome::Later),
            Err(Refused::Gone) => {}
        }
    }
    if queueing::deliveries_of_pictures(&ctx.delivering, &vod).is_empty() {
        // Its file may have waited for this; pictures that are delivered are freed together with it.
        freeing::free_if_due(ctx, vod_id);
    }
    Ok(Outcome::Done)
}

/// What changes in a record.
enum Change {
    /// An image that is there already.
    Preview(std::path::PathBuf),
    Poster(Poster),
    Sprite(Sprite),
    /// Why there is no picture.
    Missing(String),
}

/// Why nothing changes.
enum Refused {
    /// Not now.
    Later,
    /// The recording is not there as it was catalogued.
    Gone,
}

/// A recording that is open, and what its picture is to be like.
struct Sitting<'a> {
    ctx: &'a PipelineContext,
    vod: &'a VodRecord,
    options: &'a PictureOptions,
    file: File,
}

type Take = fn(&Sitting<'_>, &mut Worker) -> Result<Change, Failed>;

/// Why a picture was not made.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Apart(#[from] ApartError),
    #[error(transparent)]
    File(#[from] FileError),
}

impl Failed {
    fn class(&self) -> Class {
        match self {
            Self::Apart(error) => error.class(),
            Self::File(error) => error.class(),
        }
    }
}

/// Opens the recording and takes the picture. What kills the decoder is tried once more: it may have been killed from outside.
fn attempt(
    ctx: &PipelineContext,
    worker: &mut Worker,
    vod: &VodRecord,
    options: &PictureOptions,
    what: &str,
    take: Take,
) -> Result<Change, Refused> {
    let file = durable::open_to_read(&vod.file_path)
        .map_err(|error| if error.is_missing() { Refused::Gone } else { Refused::Later })?;
    let is_it = file.metadata().is_ok_and(|now| Fingerprint::of(&now).same_state(&vod.fingerprint));
    if !is_it {
        return Err(Refused::Gone);
    }
    let sitting = Sitting { ctx, vod, options, file };
    let mut made = take(&sitting, worker);
    if matches!(&made, Err(Failed::Apart(error)) if error.is_death()) {
        made = take(&sitting, worker);
    }
    let failed = match made {
        Ok(change) => return Ok(change),
        Err(failed) => failed,
    };
    let path = printable(&vod.file_path);
    if failed.class() == Class::Permanent {
        let why = format!("no {what}: {}", chain(&failed));
        warn!(vod_id = vod.vod_id, path, reason = why, "picture not made; the recording is not affected");
        return Ok(Change::Missing(why));
    }
    if failed.class() != Class::Cancelled {
        warn!(vod_id = vod.vod_id, path, error = chain(&failed), "{what} not made; it is tried again later");
    }
    Err(Refused::Later)
}

impl Sitting<'_> {
    fn take(&self, worker: &mut Worker, wanted: WantedPicture) -> Result<crate::media::MadePicture, Failed> {
        let recording = (&self.file, self.vod.file_path.as_path(), self.vod.container);
        Ok(worker.picture(recording, wanted, &self.options.limits(), &self.ctx.stop)?)
    }

    fn write(&self, ending: &str, bytes: &[u8]) -> Result<PictureFile, FileError> {
        let like = self.file.metadata().map_err(FileError::on("read the metadata of", &self.vod.file_path))?;
        files::write(self.vod, &like, self.ctx.catalog.owner(), ending, bytes)
    }
}

fn poster(sitting: &Sitting<'_>, worker: &mut Worker) -> Result<Change, Failed> {
    let PictureOptions { height, format, quality, .. } = *sitting.options;
    let made = sitting.take(worker, WantedPicture::Poster { height, format, quality })?;
    let file = sitting.write(&format!(".{}", format.extension()), &made.bytes)?;
    Ok(Change::Poster(Poster { file, width: made.width, height: made.height, shows: made.shows }))
}

fn sprite(sitting: &Sitting<'_>, worker: &mut Worker) -> Result<Change, Failed> {
    let interval_ms = i64::try_from(sitting.options.sprite_interval.as_millis()).unwrap_or(i64::MAX);
    let wanted = WantedPicture::Sprite { height: SPRITE_HEIGHT, interval_ms, duration_ms: sitting.vod.duration };
    let made = sitting.take(worker, wanted)?;
    let Some(tiles) = made.tiles.filter(|tiles| tiles.count > 0 && tiles.columns > 0) else {
        return Err(ApartError::NoAnswer(0).into());
    };
    let file = sitting.write(".sprite.jpg", &made.bytes)?;
    let text = tiles.webvtt(&url_of_name(&file.path));
    let index = sitting.write(".sprite.vtt", text.as_bytes()).inspect_err(|_| files::remove([&file].into_iter()))?;
    Ok(Change::Sprite(Sprite { file, index, tiles }))
}

/// Puts a change into the record, with its deliveries and its event; returns the record, or nothing if the VoD is no more: then
/// what was made of it goes, too.
fn enter(ctx: &PipelineContext, vod: &VodRecord, change: &Change) -> Result<Option<VodRecord>, CatalogError> {
    let now = changed(vod, change);
    let deliveries = queueing::deliveries_of_pictures(&ctx.delivering, &now);
    let entered =
        ctx.catalog.add_pictures(&vod.vod_id, |vod| *vod = changed(vod, change), &deliveries, ctx.clock.now_ms());
    match entered {
        Ok(record) => {
            if !matches!(change, Change::Missing(_)) {
                info!(vod_id = vod.vod_id, path = %printable(&vod.file_path), picture = change.name(), "picture made");
            }
            ctx.delivering.courier_notify.notify();
            Ok(Some(record))
        }
        Err(error) => {
            files::remove(change.files());
            if matches!(error, CatalogError::NoSuchVod { .. }) { Ok(None) } else { Err(error) }
        }
    }
}

fn changed(vod: &VodRecord, change: &Change) -> VodRecord {
    let mut vod = VodRecord { version: VOD_VERSION, ..vod.clone() };
    match change {
        Change::Preview(path) => vod.preview_file_path = Some(path.clone()),
        Change::Poster(poster) => {
            vod.preview_file_path = Some(poster.file.path.clone());
            vod.pictures.poster = Some(poster.clone());
        }
        Change::Sprite(sprite) => vod.pictures.sprite = Some(sprite.clone()),
        Change::Missing(why) => vod.pictures.missing = Some(why.clone()),
    }
    vod
}

impl Change {
    const fn name(&self) -> &'static str {
        match self {
            Self::Preview(_) => "preview",
            Self::Poster(_) => "poster",
            Self::Sprite(_) => "sprite",
            Self::Missing(_) => "none",
        }
    }

    /// Files that were made for it.
    fn files(&self) -> impl Iterator<Item = &PictureFile> {
        let (poster, sprite) = match self {
            Self::Poster(poster) => (Some(&poster.file), None),
            Self::Sprite(sprite) => (None, Some([&sprite.file, &sprite.index])),
            Self::Preview(_) | Self::Missing(_) => (None, None),
        };
        poster.into_iter().chain(sprite.into_iter().flatten())
    }
}
