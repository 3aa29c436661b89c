// Sizes, durations, times and names for people. Pure.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

export function size(bytes) {
  if (bytes === undefined || bytes === null) return '–';
  let unit = 0;
  let value = bytes;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** `1:02:03` or `4:05`. */
export function clock(ms, withTenths = false) {
  const whole = Math.max(0, ms);
  const seconds = Math.floor(whole / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (number) => String(number).padStart(2, '0');
  const text = h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  return withTenths ? `${text}.${String(Math.floor(whole % 1000)).padStart(3, '0')}` : text;
}

/** `2 h 5 min`, in words that a screen reader says. */
export function span(ms) {
  const seconds = Math.round(Math.abs(ms) / 1000);
  if (Math.abs(ms) < 1000) return `${Math.round(Math.abs(ms))} ms`;
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 && minutes < 10 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return counted(Math.floor(hours / 24), 'day');
}

export const counted = (number, one, many = `${one}s`) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

const formats = new Map();
function format(options) {
  const key = JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(undefined, options));
  return formats.get(key);
}

const DAY = { year: 'numeric', month: 'short', day: 'numeric' };
const TIME = { hour: '2-digit', minute: '2-digit' };

export const day = (ms) => format(DAY).format(ms);
export const time = (ms, withSeconds = true) => format(withSeconds ? { ...TIME, second: '2-digit' } : TIME).format(ms);
export const dayAndTime = (ms) => format({ ...DAY, ...TIME }).format(ms);
export const whole = (ms) => format({ ...DAY, ...TIME, second: '2-digit', timeZoneName: 'short' }).format(ms);

/** The server's time; UTC where it has named no zone. */
export const server = { zone: undefined };
export function serverTime(ms) {
  try {
    const zone = server.zone ?? 'UTC';
    return `server: ${format({ ...DAY, ...TIME, second: '2-digit', timeZone: zone, timeZoneName: 'short' }).format(ms)}`;
  } catch {
    return new Date(ms).toISOString();
  }
}

/** A time in the viewer's zone and in the server's. */
export const bothTimes = (ms) => `${whole(ms)} · ${serverTime(ms)}`;

/** A distance in time in its largest unit: what is read at a glance. */
function about(ms) {
  const hours = Math.abs(ms) / 3_600_000;
  if (hours < 1) return span(ms);
  return hours < 48 ? `${Math.round(hours)} h` : counted(Math.round(hours / 24), 'day');
}

export function ago(ms, now = Date.now()) {
  const past = now - ms;
  if (past >= 0) return past < 5000 ? 'now' : `${about(past)} ago`;
  return past > -1000 ? 'now' : `in ${about(-past)}`;
}

/** `2026-03` as `March 2026`. */
export function month(key, style = 'long') {
  const [year, number] = key.split('-').map(Number);
  return format({ month: style, year: 'numeric', timeZone: 'UTC' }).format(Date.UTC(year, number - 1, 1));
}

export const rate = (bits) => (bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bits / 1e3)} kbit/s`);

/** The last part of a path. */
export const base = (path) => path.slice(path.lastIndexOf('/') + 1);
export const folder = (path) => path.slice(0, Math.max(1, path.lastIndexOf('/')));

const CODECS = {
  h264: 'H.264', hevc: 'H.265', av1: 'AV1', vp8: 'VP8', vp9: 'VP9', aac: 'AAC', opus: 'Opus', mp3: 'MP3', ac3: 'AC-3',
  eac3: 'E-AC-3', vorbis: 'Vorbis', flac: 'FLAC', alac: 'ALAC', mpeg4: 'MPEG-4',
};
export const codec = (name) => CODECS[name] ?? name;

const CONTAINERS = { mp4: 'MP4', mov: 'MOV', webm: 'WebM', matroska: 'Matroska', mpegts: 'MPEG-TS', flv: 'FLV' };
export const container = (name) => CONTAINERS[name] ?? name;

/** Whether the end of a recording is missing. */
export const isTruncated = (vod) => vod.defects.some((defect) => defect.kind === 'truncated' || defect.kind === 'samples_outside');
