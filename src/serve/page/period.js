// Recordings of a period: which positions of the list they have. Lists by position take no times, so the days are counted and the first
// position is searched within its day.

import { get } from './api.js';

const DAY_MS = 86_400_000;
/** Time zones are this far from UTC at most; the days are those of the server's zone. */
const ZONE_MS = 14 * 3_600_000;

/** The start of a day such as `2026-03-04` in the viewer's zone, or of one after it. */
export function dayMs(day, add = 0) {
  const date = new Date(`${day}T00:00`);
  date.setDate(date.getDate() + add);
  return date.getTime();
}

/** The day, in the viewer's zone, so many days ago. */
export function daysAgo(days) {
  const date = new Date();
  date.setDate(date.getDate() - days);
  return [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, '0')).join('-');
}

/** How many of the chosen recordings began before a time. */
async function countBefore(chosen, days, ms) {
  let [low, high] = [0, 0];
  for (const [day, count] of days) {
    const start = Date.parse(day);
    if (start + DAY_MS + ZONE_MS <= ms) low += count;
    if (start - ZONE_MS < ms) high += count;
  }
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const { items } = await get('vods', { ...chosen, offset: middle, limit: 1, oldestFirst: true });
    if (items[0]?.startTime < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Positions of those that began from the start of one day to the end of another, the oldest first; either day may be missing. */
export async function positionsOf(chosen, { from, to }) {
  const { counts, total } = await get('vods/histogram', { by: 'day', ...chosen });
  const days = Object.entries(counts);
  const [first, end] = await Promise.all([from ? countBefore(chosen, days, dayMs(from)) : 0, to ? countBefore(chosen, days, dayMs(to, 1)) : total]);
  return { first, end: Math.max(first, end) };
}

/** A page of them. Positions are counted from the oldest, which new recordings do not change. */
export async function pageOf(chosen, { first, end }, { offset, limit, oldestFirst }) {
  const total = end - first;
  const number = Math.min(limit, total - offset);
  if (number <= 0) return { items: [], total };
  const at = oldestFirst ? first + offset : end - offset - number;
  const { items } = await get('vods', { ...chosen, offset: at, limit: number, oldestFirst: true });
  return { items: oldestFirst ? items : items.reverse(), total };
}

/** Counts by month, in their order, of those between two positions. */
export function countsWithin(counts, { first, end }) {
  let before = 0;
  return counts.map(([key, count]) => {
    const start = Math.max(first, before);
    before += count;
    return [key, Math.min(end, before) - start];
  }).filter(([, count]) => count > 0);
}
