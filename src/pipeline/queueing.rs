//! What of a finished recording waits for delivery: the file itself, its previews and sidecars, its kept original.

use std::path::{Path, PathBuf};

use super::active_config::PipelineSettings;
use super::delivering::Delivering;
use crate::discover::{Unit, UnitKind};
use crate::durable::{self, FileError};
use crate::recording::{Asset, AssetFile, Delivery, DeliveryState, Kind, VodRecord};

const PREVIEW_EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];
/// What finished recordings end in.
const RECORDING_EXTENSIONS: [&str; 14] =
    ["mp4", "m4v", "m4a", "mov", "webm", "mkv", "flv", "ts", "ogg", "wav", "avi", "ivf", "mp3", "aac"];

/// The deliveries of a recording that is about to be catalogued, one per asset and target. An error if its file cannot be looked at, as
/// when its root was unmounted right now: catalogued without its delivery, it would never be delivered.
pub fn deliveries_for(ctx: &Delivering, record: &VodRecord) -> Result<Vec<Delivery>, FileError> {
    let path = record.file_path.as_path();
    let file = AssetFile::new(path.to_owned(), durable::fingerprint(path)?);
    let recording = asset_of(record, Kind::Recording, record.vod_id.clone(), vec![file]);
    Ok(deliveries(ctx, std::iter::once(recording).chain(assets_beside(record))))
}

/// The same for what belongs to it: pictures, sidecars, its kept original. What is not there is left out.
pub fn deliveries_beside(ctx: &Delivering, record: &VodRecord) -> Vec<Delivery> {
    deliveries(ctx, assets_beside(record).into_iter())
}

fn deliveries(ctx: &Delivering, assets: impl Iterator<Item = Asset>) -> Vec<Delivery> {
    let settings = ctx.config.settings();
    let wanted = assets.filter(|asset| settings.deliver.upload_extensions.contains(asset.kind));
    wanted.flat_map(|asset| to_every_target(&settings, &asset, ctx.clock.now_ms())).collect()
}

fn to_every_target(settings: &PipelineSettings, asset: &Asset, now_ms: i64) -> Vec<Delivery> {
    let delivery = |target: &str| Delivery {
        id: Delivery::id_of(&asset.id, target),
        asset: asset.clone(),
        target: target.to_owned(),
        state: DeliveryState::Waiting { due_ms: now_ms, last_fault: None },
        attempts: 0,
        queued_ms: now_ms,
    };
    settings.deliver.targets.iter().map(|t| delivery(&t.name)).collect()
}

fn assets_beside(record: &VodRecord) -> Vec<Asset> {
    let file = |path: &Path| Some(AssetFile::new(path.to_owned(), durable::fingerprint(path).ok()?));
    let asset = |kind: Kind, id: String, path: &Path| Some(asset_of(record, kind, id, vec![file(path)?]));
    let id = |what: &str| Asset::id_of(&record.vod_id, what);
    let sprite = record.pictures.sprite.as_ref();
    let mut assets = Vec::new();
    assets.extend(record.preview_file_path.iter().filter_map(|p| asset(Kind::Preview, id(Asset::PREVIEW), p)));
    // The sheet before what refers to it.
    assets.extend(sprite.and_then(|sprite| {
        let files = [&sprite.file.path, &sprite.index.path].map(|path| file(path));
        Some(asset_of(record, Kind::Preview, id(Asset::SPRITE), files.into_iter().collect::<Option<_>>()?))
    }));
    assets.extend(record.original_path.iter().filter_map(|p| asset(Kind::OtherContainer, id(Asset::ORIGINAL), p)));
    assets.extend(sidecars(&record.file_path).into_iter().filter_map(|p| {
        let extension = p.extension()?.to_string_lossy().into_owned();
        asset(Kind::Sidecar, id(&extension), &p)
    }));
    assets
}

/// Id of the asset that the JSON sidecar of a VoD is.
pub(super) fn sidecar_id(vod_id: &str) -> String {
    Asset::id_of(vod_id, "json")
}

/// The asset of files that belong to a recording.
fn asset_of(record: &VodRecord, kind: Kind, id: String, files: Vec<AssetFile>) -> Asset {
    Asset {
        id,
        kind,
        vod_id: Some(record.vod_id.clone()),
        stream_id: record.stream_id.clone(),
        root: record.root.clone(),
        start_ms: record.start_time,
        duration_ms: (kind == Kind::Recording).then_some(record.duration),
        salvaged: kind == Kind::Recording && record.salvaged,
        files,
    }
}

/// The deliveries of a recording's pictures, one per asset and target; those that are known already stay as they are.
pub fn deliveries_of_pictures(ctx: &Delivering, record: &VodRecord) -> Vec<Delivery> {
    let mut deliveries = deliveries_beside(ctx, record);
    deliveries.retain(|delivery| delivery.asset.kind == Kind::Preview);
    deliveries
}

/// Paths of recordings beside this one that have its name but for the end.
fn recordings_named_like(recording: &Path) -> Vec<PathBuf> {
    let named = RECORDING_EXTENSIONS.iter().map(|extension| recording.with_extension(extension));
    named.filter(|path| path != recording).collect()
}

/// The preview image that a server left for a recording: beside it, or in `previews/` beside or above its directory. One that belongs
/// to another VoD is none of it: `a.mp4` and `a.webm` have the same name but for its end.
pub fn preview_of(ctx: &Delivering, record: &VodRecord) -> Option<PathBuf> {
    let images = images_named_like(&record.file_path, &record.root).unwrap_or_default();
    let image = images.into_iter().find(|path| path.is_file())?;
    let is_of = |path: PathBuf| {
        let other = ctx.catalog.shared().vod_at_path(&path).ok().flatten();
        other.is_some_and(|other| {
            other.vod_id != record.vod_id && other.preview_file_path.as_deref() == Some(image.as_path())
        })
    };
    (!recordings_named_like(&record.file_path).into_iter().any(is_of)).then_some(image)
}

fn images_named_like(recording: &Path, root: &Path) -> Option<Vec<PathBuf>> {
    let stem = recording.file_stem()?;
    let parent = recording.parent()?;
    let near = [Some(parent.to_owned()), Some(parent.join("previews")), root.parent().map(|p| p.join("previews"))];
    let candidates = near.into_iter().flatten().flat_map(|dir| {
        PREVIEW_EXTENSIONS.map(|extension| dir.join(format!("{}.{extension}", stem.to_string_lossy())))
    });
    Some(candidates.collect())
}

fn sidecars(recording: &Path) -> Vec<PathBuf> {
    Asset::SIDECARS.map(|extension| recording.with_extension(extension)).into_iter().filter(|p| p.is_file()).collect()
}

/// The deliveries of an HLS or DASH unit. Its id follows from its files' fingerprints, so that the same unit is
/// queued once and a grown one again.
pub fn deliveries_for_unit(ctx: &Delivering, unit: &Unit, stream_id: &str) -> Vec<Delivery> {
    let settings = ctx.config.settings();
    if !unit.ready.is_ready() || !settings.deliver.upload_extensions.contains(kind_of(unit)) {
        return Vec::new();
    }
    unit_asset(unit, stream_id).map(|asset| to_every_target(&settings, &asset, ctx.clock.now_ms())).unwrap_or_default()
}

const fn kind_of(unit: &Unit) -> Kind {
    match unit.kind {
        UnitKind::Hls => Kind::Hls,
        UnitKind::Dash => Kind::Dash,
    }
}

fn unit_asset(unit: &Unit, stream_id: &str) -> Option<Asset> {
    let mut hash = blake3::Hasher::new();
    let mut files = Vec::new();
    for path in &unit.files {
        let fingerprint = durable::fingerprint(path).ok()?;
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(&fingerprint.size_bytes.to_be_bytes());
        hash.update(&fingerprint.mtime_ns.to_be_bytes());
        let ending = if unit.unended.contains(path) { missing_end(path)? } else { String::new() };
        hash.update(ending.as_bytes());
        files.push(AssetFile { ending, ..AssetFile::new(path.clone(), fingerprint) });
    }
    let start_ms = files.first()?.fingerprint.mtime_ms();
    Some(Asset {
        id: format!("unit-{}", &hash.finalize().to_hex()[..24]),
        kind: kind_of(unit),
        vod_id: None,
        stream_id: stream_id.to_owned(),
        root: unit.root.clone(),
        start_ms,
        duration_ms: None,
        salvaged: false,
        files,
    })
}

/// What a crashed server left out at the end of a playlist (RFC 8216 §4.3.3.4): without it players wait for more for ever.
/// It goes into the object alone; the file is the server's.
fn missing_end(playlist: &Path) -> Option<String> {
    use std::os::unix::fs::FileExt;
    let file = durable::open_to_read(playlist).ok()?;
    let len = file.metadata().ok()?.len();
    let mut last = [b'\n'];
    if len > 0 {
        file.read_exact_at(&mut last, len - 1).ok()?;
    }
    let line_end = if last == *b"\n" { "" } else { "\n" };
    Some(format!("{line_end}#EXT-X-ENDLIST\n"))
}
