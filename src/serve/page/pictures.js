// The pictures of a VoD, where the record says that there are any.

import { at, vodPath } from './api.js';

const DIGITS = 32;

/** A URL that names its content may be kept for ever. */
const named = (vod, end, picture) => at(vodPath(vod.vodId, end), { v: picture.digest?.slice(0, DIGITS) });

export function posterOf(vod) {
  const poster = vod.pictures?.poster;
  if (poster) return named(vod, '/poster', poster);
  // An image that the ingest server made.
  return vod.previewFilePath ? at(vodPath(vod.vodId, '/poster')) : null;
}

export function spriteOf(vod) {
  const sprite = vod.pictures?.sprite;
  return sprite ? { image: named(vod, '/sprite', sprite), tiles: sprite.tiles } : null;
}

/** Which picture of a sheet is shown at a time: its column and row. */
export function cellAt(tiles, ms) {
  const index = Math.min(tiles.count - 1, Math.max(0, Math.floor(ms / tiles.intervalMs)));
  return { column: index % tiles.columns, row: Math.floor(index / tiles.columns) };
}
