//! Where the bytes of a VoD are: in its local file, or in an object store once that was freed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::vods::known;
use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::deliver::{Link, LinkOptions, Looked, Pinned};
use crate::pipeline::PipelineContext;
use crate::recording::{Asset, DeliveryState, Fingerprint, PictureFile, RemoteObject, VodRecord};

/// How long a presigned URL is valid: longer than most recordings play.
pub(super) const VALID: Duration = Duration::from_secs(6 * 3600);

/// Finds the media of a VoD in the catalogue. Nothing is looked up on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocateMedia {
    /// What is wanted.
    pub of: MediaOf,
}

/// Which media.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MediaOf {
    /// The recording of the VoD with this id.
    Vod(String),
    /// The recording that is known by the first of these paths that is known.
    Paths(Vec<PathInRoot>),
    /// The preview image of the VoD with this id, if it belongs to one of the roots.
    Preview {
        /// Its id.
        id: String,
        /// The roots.
        roots: Vec<PathBuf>,
    },
    /// The preview image of the recording that is known by the first of these paths that is known.
    PreviewOf(Vec<PathInRoot>),
    /// A picture of the VoD with this id.
    Picture {
        /// Its id.
        id: String,
        /// Which picture.
        picture: Picture,
    },
}

/// A picture of a VoD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Picture {
    /// Its poster, or the preview image that an ingest server made.
    Poster,
    /// Its sprite sheet.
    Sprite,
}

impl Picture {
    /// The asset that it is delivered as.
    fn asset_id(self, vod_id: &str) -> String {
        match self {
            Self::Poster => Asset::id_of(vod_id, Asset::PREVIEW),
            Self::Sprite => Asset::id_of(vod_id, Asset::SPRITE),
        }
    }
}

/// A path below a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathInRoot {
    /// The root.
    pub root: PathBuf,
    /// The path below it.
    pub path: PathBuf,
}

/// Media of a VoD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Media {
    /// Id of the VoD.
    pub vod_id: String,
    /// Which picture of the VoD it is, if it is not its recording.
    pub picture: Option<Picture>,
    /// The local file, unless it was freed.
    pub path: Option<PathBuf>,
    /// A name for it without directories.
    pub name: String,
    /// The file that was catalogued, where its content has a digest.
    pub digest: Option<FileDigest>,
}

/// Content of a file, known by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileDigest {
    /// The file that was read.
    pub of: Fingerprint,
    /// BLAKE3 over it, hex.
    pub blake3: String,
}

impl Operation for LocateMedia {
    type Item = NoItem;
    type Data = Media;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Media, OperationError> {
        let ctx = context.pipeline();
        match &self.of {
            MediaOf::Vod(id) => Ok(recording(&known(ctx, id)?)),
            MediaOf::Paths(paths) => first_known(ctx, paths)?.map(|vod| recording(&vod)).ok_or_else(no_media),
            MediaOf::Preview { id, roots } => {
                let vod = ctx.catalog.shared().vod(id)?.filter(|vod| roots.contains(&vod.root));
                vod.and_then(|vod| preview(&vod)).ok_or_else(no_media)
            }
            MediaOf::PreviewOf(paths) => first_known(ctx, paths)?.and_then(|vod| preview(&vod)).ok_or_else(no_media),
            MediaOf::Picture { id, picture } => picture_of(&known(ctx, id)?, *picture),
        }
    }
}

fn no_media() -> OperationError {
    OperationError::not_found("no VoD has this path")
}

fn first_known(ctx: &PipelineContext, paths: &[PathInRoot]) -> Result<Option<VodRecord>, OperationError> {
    for PathInRoot { root, path } in paths {
        let vod = ctx.catalog.shared().vod_at_path(&root.join(path))?;
        if let Some(vod) = vod.filter(|vod| vod.root == *root) {
            return Ok(Some(vod));
        }
    }
    Ok(None)
}

fn recording(vod: &VodRecord) -> Media {
    let digest = vod.digest.clone().map(|blake3| FileDigest { of: vod.fingerprint, blake3 });
    Media {
        vod_id: vod.vod_id.clone(),
        picture: None,
        path: vod.freed_at.is_none().then(|| vod.file_path.clone()),
        name: vod.vod_name.clone(),
        digest,
    }
}

fn preview(vod: &VodRecord) -> Option<Media> {
    let path = vod.preview_file_path.clone()?;
    let file = vod.pictures.poster.as_ref().map(|poster| &poster.file).filter(|file| file.path == path);
    Some(Media { digest: file.map(FileDigest::of), ..picture_at(vod, Picture::Poster, &path) })
}

fn picture_at(vod: &VodRecord, picture: Picture, path: &Path) -> Media {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let (vod_id, path) = (vod.vod_id.clone(), Some(path.to_owned()));
    Media { vod_id, picture: Some(picture), path, name, digest: None }
}

fn picture_of(vod: &VodRecord, picture: Picture) -> Result<Media, OperationError> {
    let found = match picture {
        Picture::Poster => preview(vod),
        Picture::Sprite => vod.pictures.sprite.as_ref().map(|sprite| Media {
            digest: Some(FileDigest::of(&sprite.file)),
            ..picture_at(vod, picture, &sprite.file.path)
        }),
    };
    let none = || match &vod.pictures.missing {
        Some(why) => OperationError::not_found(why.clone()),
        None => OperationError::not_found("this VoD has no such picture"),
    };
    found.ok_or_else(none)
}

impl FileDigest {
    fn of(file: &PictureFile) -> Self {
        Self { of: file.fingerprint, blake3: file.digest.clone() }
    }
}

/// The `WebVTT` of a VoD's sprite sheet, for the paths of this interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShowSpriteIndex {
    /// Its id.
    pub id: String,
}

impl Operation for ShowSpriteIndex {
    type Item = NoItem;
    type Data = SpriteIndex;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<SpriteIndex, OperationError> {
        let vod = known(context.pipeline(), &self.id)?;
        let sheet = picture_of(&vod, Picture::Sprite)?;
        let tiles = vod.pictures.sprite.map(|sprite| sprite.tiles);
        let (tiles, digest) = tiles.zip(sheet.digest).ok_or_else(no_media)?;
        // With the digest of the sheet, so that a player keeps it.
        let sheet = format!("sprite?v={}", digest.blake3.get(..VERSION_DIGITS).unwrap_or_default());
        Ok(SpriteIndex { text: tiles.webvtt(&sheet) })
    }
}

/// Digits of a digest that stand for a version of a picture in URLs.
pub const VERSION_DIGITS: usize = 16;

/// A `WebVTT` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpriteIndex {
    /// Its text.
    pub text: String,
}

/// Where a copy of a VoD can be had whose local file is freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkToCopy {
    /// Its id.
    pub id: String,
    /// Whether it is wanted as a download under its name.
    pub as_download: bool,
    /// Whether only the head of the answer is wanted.
    pub head: bool,
}

/// A copy of a VoD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Copy")]
pub enum MediaCopy {
    /// In a store, for a few hours under this address.
    Url(String),
    /// In a directory.
    File(PathBuf),
}

impl Operation for LinkToCopy {
    type Item = NoItem;
    type Data = MediaCopy;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<MediaCopy, OperationError> {
        let ctx = context.pipeline();
        let vod = known(ctx, &self.id)?;
        let targets = ctx.targets();
        let download_name = self.as_download.then_some(vod.vod_name.as_str());
        let reader = LinkOptions { valid: VALID, wants_head: self.head, download_name };
        let mut failed = None;
        for object in vod.remote.iter().filter(|object| object.differs.is_none()) {
            match targets.link(object, &reader) {
                Ok(Link::Url(url)) => return Ok(MediaCopy::Url(url)),
                Ok(Link::File(path)) => return Ok(MediaCopy::File(path)),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.map_or_else(|| nowhere(&vod.file_path), OperationError::from))
    }
}

/// Reads the delivered copy of a picture whose local file is freed, so that a browser asks nobody but this program for pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadPictureCopy {
    /// Id of the VoD.
    pub id: String,
    /// Which picture.
    pub picture: Picture,
}

/// A copy of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PictureCopy {
    /// Its content, as it was delivered.
    Bytes(Vec<u8>),
    /// A file in a directory.
    File(PathBuf),
}

/// A sprite sheet of 600 pictures is about 4 MB; the preview of a server may be larger.
const MOST_PICTURE_BYTES: u64 = 16 << 20;

impl Operation for ReadPictureCopy {
    type Item = NoItem;
    type Data = PictureCopy;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<PictureCopy, OperationError> {
        let ctx = context.pipeline();
        let vod = known(ctx, &self.id)?;
        let picture = picture_of(&vod, self.picture)?;
        let mut failed = None;
        for object in copies_of(ctx, &self.picture.asset_id(&vod.vod_id), &vod)? {
            match read_copy(context, &object, &picture) {
                Ok(Some(copy)) => return Ok(copy),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| nowhere(picture.path.as_ref().unwrap_or(&vod.file_path))))
    }
}

/// `None` if the copy is not what was delivered, or not a picture that is sent from memory.
fn read_copy(context: &Context, object: &RemoteObject, picture: &Media) -> Result<Option<PictureCopy>, OperationError> {
    let targets = context.pipeline().targets();
    let pinned = match targets.pin(object, context.stop())? {
        Looked::AsProven(Pinned::File { path, .. }) => return Ok(Some(PictureCopy::File(path))),
        Looked::AsProven(Pinned::Object(pinned)) => pinned,
        Looked::Differs(_) => return Ok(None),
    };
    if pinned.size_bytes > MOST_PICTURE_BYTES {
        return Err(OperationError::not_found(format!("the picture has more than {} MiB", MOST_PICTURE_BYTES >> 20)));
    }
    let bytes = targets.read(&pinned, 0..pinned.size_bytes)?;
    let is_it = |bytes: &Vec<u8>| {
        let digest = picture.digest.as_ref().map(|digest| digest.blake3.as_str());
        digest.is_none_or(|digest| blake3::hash(bytes).to_hex().as_str() == digest)
    };
    Ok(bytes.filter(is_it).map(PictureCopy::Bytes))
}

/// The delivered copies of what belongs to a VoD.
fn copies_of(ctx: &PipelineContext, asset_id: &str, vod: &VodRecord) -> Result<Vec<RemoteObject>, OperationError> {
    let deliveries = ctx.catalog.deliveries_of_vod(&vod.vod_id)?.into_iter();
    let of_asset = deliveries.filter(|delivery| delivery.asset.id == asset_id);
    let objects = of_asset.filter_map(|delivery| match delivery.state {
        DeliveryState::Delivered { objects } => objects.into_iter().next(),
        _ => None,
    });
    Ok(objects.collect())
}

fn nowhere(path: &Path) -> OperationError {
    let path = crate::recording::name::printable(path);
    OperationError::not_found(format!("{path} is not on this disk, and no target has a copy of it"))
        .with_next_step("Run `aftercast vod verify` to compare the catalogue with the targets.")
}
