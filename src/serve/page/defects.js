// What a defect is, what it means for who watches the recording, and what to do about it.

import { counted, codec, size, span } from './format.js';

const track = (defect) => `Track ${defect.track}`;

const KNOWN = {
  empty: () => ['The file is empty', 'Nothing was recorded.', 'Delete it. If it happens again, look into the log of the ingest server.'],
  not_media: () => ['Not a recording', 'The container format is unknown.', 'Move it out of the recording directory.'],
  no_movie_header: (d, isSalvaged) => (isSalvaged
    ? ['The header was never written', 'The writer ended before it wrote the MP4 header.', 'It was rebuilt from the media: see the salvage report.']
    : ['The header was never written', 'The writer ended before it wrote the MP4 header, and the media could not be rebuilt without it.', 'The file is unchanged.']),
  no_packets: () => ['No media', 'The container holds no media packets.', 'Delete it, or look into the log of the ingest server.'],
  no_keyframe: () => ['No keyframe', 'Nothing in the video can be decoded.', 'The publisher sent no keyframe before the recording ended.'],
  truncated: (d) => ['The end is missing', `The file is shorter than it declares: ${d.missing}.`, 'Everything before that is here. The original is kept.'],
  samples_outside: (d) => [`${counted(d.samples, 'sample')} lie outside the file`, `${track(d)} declares media behind the end of the file.`, 'Everything that is in the file is kept. The original is kept, too.'],
  malformed: (d) => ['The structure contradicts itself', d.detail + (d.offset ? ` (byte ${d.offset.toLocaleString()})` : ''), 'Look at the recording where it matters; the media itself was not changed.'],
  leading_packets_dropped: (d) => [`${counted(d.packets, 'packet')} before the first keyframe`, `${track(d)}: they cannot be decoded, and the file begins behind them.`, 'Nothing to do. The original is kept.'],
  corrupt_packets: (d) => [`${counted(d.packets, 'corrupt packet')} left out`, `${track(d)}: expect a short disturbance there.`, 'Check the disk and the network of the ingest server if it happens again.'],
  timestamps_repaired: (d) => [`${counted(d.packets, 'timestamp')} repaired`, `${track(d)}: moved by ${span(d.worstMs)} at most.`, 'Nothing to do.'],
  presentation_moved: (d) => [`${counted(d.packets, 'packet')} shown at another time`, `${track(d)}: by up to ${span(d.worstMs)}.`, 'Check audio and video at the marked place. The original is kept.'],
  timestamp_gap: (d, isSalvaged) => (d.lengthMs < 0
    ? [`The clock goes back by ${span(d.lengthMs)}`, `${track(d)}: another clock was joined to the one before.`, 'Nothing to do.']
    : [`A gap of ${span(d.lengthMs)}`, isSalvaged ? `${track(d)}: media was lost there, or nothing was recorded.` : `${track(d)}: nothing was recorded there; the publisher paused or its connection broke.`, 'Nothing to do. The gap is kept, so that audio and video stay in sync.']),
  track_left_out: (d) => [`Track ${d.track} (${codec(d.codec)}) left out`, d.reason, 'The original is kept and holds it.'],
  content_left_out: (d) => [`${d.what} left out`, d.reason, 'The original is kept and holds it.'],
  empty_track: (d) => [`Track ${d.track} (${codec(d.codec)}) is empty`, 'It was declared, but nothing was recorded in it.', 'Nothing to do.'],
  duration_mismatch: (d) => ['The duration was declared wrong', `The container said ${span(d.declaredMs)}; the media lasts ${span(d.measuredMs)}.`, 'Nothing to do: the finished file says what the media says.'],
  undecodable: (d) => [counted(d.errors, 'decoding error'), `${track(d)}: parts of it do not decode.`, 'Watch it at these places. The media was damaged before it was written.'],
  not_decoded: (d) => ['Not checked by a decoder', d.reason, 'Watch it. If the decoder crashed, a newer FFmpeg may help; the recording is delivered as it is.'],
  kills_the_process: (d) => ['The recording ends the process that reads it', `It was tried ${counted(d.attempts, 'time')}.`, 'Report it, with the file if possible. It is not touched any more.'],
  beyond_limit: (d) => [`${d.what} is beyond the limit`, `Found ${d.found.toLocaleString()}; the limit is ${d.limit.toLocaleString()}.`, 'The file is probably damaged. It stays where it is.'],
  not_converted: (d) => ['Kept in its own container', d.reason, 'Nothing is missing.'],
  compressed_header: () => ['The header is compressed', 'Compressed movie headers (cmov) are not supported.', 'Rewrite it with `ffmpeg -i FILE -c copy OUT.mp4`.'],
  encrypted: () => ['Encrypted', 'The media cannot be checked; it is kept unchanged.', 'Nothing to do.'],
  needs_parameters: (d) => ['Codec parameters are missing', d.pictures ? `${counted(d.pictures, 'picture')} of ${codec(d.codec)} found, but nothing says how they are coded.` : `The beginning of the ${codec(d.codec)} is lost.`, 'It is finished by itself as soon as an intact recording of the same stream is known, or an intact one is given as a reference.'],
  not_rebuilt: (d) => [`${codec(d.codec)} cannot be rebuilt`, 'The MP4 header was never written, and packets of this codec cannot be found without it.', 'The recording is unchanged.'],
  unexplained: (d) => [`${size(d.bytes)} belong to no packet`, `In ${counted(Math.max(1, d.places), 'place')}${d.lostPackets ? `; about ${counted(d.lostPackets, 'packet')} lost` : ''}.`, 'The original is kept.'],
};

const FATAL = new Set(['empty', 'not_media', 'no_movie_header', 'no_packets', 'no_keyframe', 'kills_the_process', 'beyond_limit', 'compressed_header', 'needs_parameters', 'not_rebuilt']);
const HARMLESS = new Set(['timestamps_repaired', 'empty_track', 'duration_mismatch', 'not_converted', 'encrypted', 'timestamp_gap', 'leading_packets_dropped']);

/** A defect in words: `title`, `meaning`, `todo` and how bad it is. */
export function explain(defect, isSalvaged = false) {
  const say = KNOWN[defect.kind] ?? ((d) => [d.kind.replaceAll('_', ' '), Object.entries(d).filter(([name]) => name !== 'kind').map(([name, value]) => `${name}: ${value}`).join(', '), '']);
  const [title, meaning, todo] = say(defect, isSalvaged);
  return { title, meaning, todo, level: FATAL.has(defect.kind) && !isSalvaged ? 'bad' : HARMLESS.has(defect.kind) ? 'calm' : 'warn' };
}

/** The time at which a byte of the media is, as if all its parts had the same bitrate. */
const timeAt = (offset, { salvage, fileSize, duration }) => Math.min(duration, (offset / (salvage?.mediaBytes || fileSize || 1)) * duration);

const PLACES = {
  timestamp_gap: (d) => ({ atMs: Math.max(0, d.atMs), lengthMs: Math.max(0, d.lengthMs) }),
  leading_packets_dropped: () => ({ atMs: 0 }),
  truncated: (d, vod) => ({ atMs: vod.duration }),
  samples_outside: (d, vod) => ({ atMs: vod.duration }),
  unexplained: (d, vod) => (d.offset === undefined ? null : { atMs: timeAt(d.offset, vod), isAbout: true }),
};

/** Where in the recording a defect is, if that is known: milliseconds from the start and length. */
export const placeOf = (defect, vod) => PLACES[defect.kind]?.(defect, vod) ?? null;

/** Gaps of a salvaged recording in time. Only their bytes are known, so that is about right. */
export const gapsOf = (vod) => (vod.salvage?.gaps ?? []).map((gap) => {
  const lost = [[gap.lostPictures, 'picture'], [gap.lostAudio, 'audio frame']].filter(([number]) => number > 0).map(([number, what]) => counted(number, what));
  const atMs = timeAt(gap.offset, vod);
  return { atMs, lengthMs: timeAt(gap.offset + gap.bytes, vod) - atMs, level: 'bad', isAbout: true, title: `Lost about here: ${lost.join(', ') || size(gap.bytes)}` };
});

/** What the player marks. */
export function marksOf(vod) {
  const gaps = gapsOf(vod);
  const defects = vod.defects.filter((defect) => defect.kind !== 'unexplained' || !gaps.length);
  return [...defects.map((defect) => ({ ...placeOf(defect, vod), ...explain(defect, vod.salvaged) })).filter((mark) => mark.atMs !== undefined), ...gaps];
}
