// Streams: what was recorded when, with honest gaps, and any span of it to play.

import { useEffect, useMemo, useRef, useState } from './vendor/hooks.mjs';
import { at, faultOf, get, useAnswer, useEvents } from './api.js';
import { Button, Empty, Fault, Icon, LinkButton, Loading, Section, Time, attempt, html, say, useLate } from './parts.js';
import { ago, clock, counted, day, dayAndTime, span, time } from './format.js';
import { hueOf } from './library.js';
import { Player } from './player.js';

const DAY_MS = 86_400_000;
const SHOWN_DAYS = [7, 14, 31];
const LONGEST_MS = 7 * DAY_MS;

const timelinePath = (id) => `streams/${encodeURIComponent(id)}/timeline`;

/** The begin of the day that holds a time, in the viewer's zone; days are 23 or 25 hours long when the clock changes. */
const dayOf = (ms, add = 0) => {
  const date = new Date(ms);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + add).getTime();
};

const toField = (ms) => {
  const two = (number) => String(number).padStart(2, '0');
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
};

const List = ({ current }) => {
  const [text, setText] = useState('');
  const [asked, setAsked] = useState('');
  const [more, setMore] = useState([]);
  useLate(text, 250, setAsked);
  const { data, error, isLoading, reload } = useAnswer(() => get('streams', { text: asked, limit: 200 }), [asked]);
  const [next, setNext] = useState(null);
  useEffect(() => { setMore([]); setNext(data?.next ?? null); }, [data]);
  useEvents(['vod.catalogued', 'vod.deleted'], reload, 2000);
  const readMore = () => attempt(async () => {
    const page = await get('streams', { text: asked, limit: 200, after: next });
    setMore([...more, ...page.items]);
    setNext(page.next);
  });
  const items = [...(data?.items ?? []), ...more];
  return html`
    <aside class="stream-list" aria-label="Streams">
      <label class="search"><${Icon} name="search" /><input type="search" placeholder="Search streams" aria-label="Search streams" value=${text} onInput=${(event) => setText(event.target.value)} data-search /></label>
      ${error && html`<${Fault} error=${error} retry=${reload} />`}
      ${isLoading && html`<${Loading} what="streams" />`}
      ${data && !items.length && html`<${Empty} icon="layers" title=${asked ? 'No such stream' : 'No stream yet'} />`}
      <ul>${items.map((item) => html`<li key=${item.streamId}><a href=${`#/streams/${encodeURIComponent(item.streamId)}`} aria-current=${item.streamId === current ? 'true' : undefined}>
        <span class="swatch" style=${{ '--hue': hueOf(item.streamId) }}>${[...item.streamName][0]}</span>
        <span class="stream-name">${item.streamName}</span><span class="fade">${ago(item.lastEndMs)}</span></a></li>`)}</ul>
      ${next && html`<${Button} onClick=${readMore}>More streams</${Button}>`}
    </aside>`;
};

/** The part of a span that lies in a day. */
const inside = (span1, from, to) => (span1.endMs > from && span1.startMs < to ? { from: Math.max(from, span1.startMs), to: Math.min(to, span1.endMs) } : null);

const Day = ({ from, to, spans, gaps, range, onRange, now }) => {
  const bar = useRef(null);
  const begun = useRef(null);
  const x = (ms) => `${(100 * (ms - from)) / (to - from)}%`;
  const width = (part) => `${Math.max(0.15, (100 * (part.to - part.from)) / (to - from))}%`;
  const atPointer = (event) => {
    const box = bar.current.getBoundingClientRect();
    return Math.round(from + (Math.min(Math.max(0, event.clientX - box.left), box.width) / box.width) * (to - from));
  };
  const down = (event) => {
    if (event.button) return;
    begun.current = { at: atPointer(event), isMoved: false, x: event.clientX };
    bar.current.setPointerCapture(event.pointerId);
  };
  const move = (event) => {
    if (!begun.current || Math.abs(event.clientX - begun.current.x) < 5) return;
    begun.current.isMoved = true;
    const other = atPointer(event);
    onRange({ from: Math.min(begun.current.at, other), to: Math.max(begun.current.at, other) });
  };
  const up = (event) => {
    const { isMoved } = begun.current ?? {};
    const at1 = atPointer(event);
    begun.current = null;
    if (isMoved) return;
    const hit = spans.map((each) => [each, inside(each, from, to)]).find(([, part]) => part && at1 >= part.from && at1 <= part.to);
    if (hit) onRange({ from: at1, to: Math.min(hit[0].endMs, at1 + LONGEST_MS) }, true);
  };
  const parts = spans.map((each) => ({ each, part: inside(each, from, to) })).filter(({ part }) => part);
  const chosen = range && inside({ startMs: range.from, endMs: range.to }, from, to);
  const recorded = parts.reduce((sum, { part }) => sum + part.to - part.from, 0);
  return html`
    <li class="day"><span class="day-name">${day(from)}<span class="fade">${recorded ? span(recorded) : 'nothing'}</span></span>
      <div class="day-bar" ref=${bar} onPointerDown=${down} onPointerMove=${move} onPointerUp=${up}>
        ${gaps.map((gap) => inside(gap, from, to)).filter(Boolean).map((part) => html`<span class="gap" title=${`Not recorded: ${time(part.from)} to ${time(part.to)}`} style=${{ left: x(part.from), width: width(part) }}></span>`)}
        ${parts.map(({ each, part }) => html`<button type="button" class=${`span ${each.isClippable ? '' : 'away'}`} style=${{ left: x(part.from), width: width(part) }}
          aria-label=${`${time(part.from)} to ${time(part.to)}${each.isClippable ? '' : ', cannot be cut: not on this disk, or not MP4'}`} title=${`${time(part.from)} – ${time(part.to)}, ${counted(each.vods.length, 'recording')}`}
          onKeyDown=${(event) => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); onRange({ from: part.from, to: part.to }, true); } }}></button>`)}
        ${now >= from && now < to && html`<span class="now" style=${{ left: x(now) }} title="Now"></span>`}
        ${chosen && html`<span class="chosen" style=${{ left: x(chosen.from), width: width(chosen) }}></span>`}
      </div></li>`;
};

const Play = ({ id, range, spans, gaps, onRange }) => {
  const [played, setPlayed] = useState(null);
  useEffect(() => { if (range?.plays) setPlayed(range); }, [range]);
  if (!range) return html`<p class="fade hint">Click a recording to play from there, or drag across the timeline to choose a span. A span may go across files; gaps stay gaps.</p>`;
  const query = (one) => ({ start: one.from, end: one.to });
  const address = (one, more) => at(`streams/${encodeURIComponent(id)}/clip`, { ...query(one), ...more });
  const isTooLong = range.to - range.from > LONGEST_MS;
  const touched = spans.filter((each) => inside(each, range.from, range.to));
  const away = touched.filter((each) => !each.isClippable);
  const field = (name, label) => html`<label class="field small">${label}<input type="datetime-local" step="1" value=${toField(range[name])} onChange=${(event) => { const ms = new Date(event.target.value).getTime(); if (ms) onRange({ ...range, [name]: ms, plays: false }); }} /></label>`;
  const download = () => attempt(async () => {
    const words = await faultOf(address(range));
    if (words) return say(words, 'bad');
    const link = document.createElement('a');
    link.href = address(range, { download: 1 });
    link.click();
    return undefined;
  });
  const marks = gaps.map((gap) => played && inside(gap, played.from, played.to)).filter(Boolean)
    .map((part) => ({ atMs: part.from - played.from, lengthMs: part.to - part.from, level: 'warn', title: `Not recorded: ${span(part.to - part.from)}` }));
  return html`
    <div class="range-bar">
      ${field('from', 'From')}${field('to', 'To')}
      <span class="fade">${range.to > range.from ? span(range.to - range.from) : 'The end must be behind the start.'}${isTooLong ? ' – at most 7 days' : ''}</span>
      <${Button} kind="main" icon="play" disabled=${range.to <= range.from || isTooLong} onClick=${() => setPlayed({ ...range })}>Play</${Button}>
      <${Button} icon="download" disabled=${range.to <= range.from || isTooLong} onClick=${download}>Download</${Button}>
      ${touched.length > 0 && html`<span class="fade">${counted(touched.reduce((sum, each) => sum + each.vods.length, 0), 'recording')}</span>`}
    </div>
    ${away.length > 0 && html`<p class="warn-text"><${Icon} name="triangle-alert" /> A part of this span is not on this disk, or is not MP4; it cannot be cut.</p>`}
    ${played && html`<${Player} key=${address(played)} src=${address(played)} durationMs=${played.to - played.from} marks=${marks} name=${`${id} from ${dayAndTime(played.from)}`} onFailure=${() => faultOf(address(played))} />
      <p class="fade">${dayAndTime(played.from)} to ${dayAndTime(played.to)} · ${clock(played.to - played.from)}</p>`}`;
};

const Timeline = ({ id, startAt }) => {
  const [days, setDays] = useState(SHOWN_DAYS[0]);
  const [last, setLast] = useState(null);
  const [range, setRange] = useState(null);
  const now = Date.now();
  const newest = useAnswer(async () => {
    if (startAt) return startAt;
    const { items } = await get('vods', { stream: id, limit: 1 });
    return items[0] ? items[0].startTime + items[0].duration : Date.now();
  }, [id, startAt]);
  const end = last ?? (newest.data ? dayOf(newest.data, 1) : null);
  const from = end && dayOf(end - 1, 1 - days);
  const { data, error, isLoading, reload } = useAnswer(async () => (end ? get(timelinePath(id), { from, to: end }) : undefined), [id, from, end]);
  useEvents(['vod.catalogued', 'vod.deleted', 'local.freed'], (all) => { if (all.some((event) => !event.vod || event.vod.streamId === id)) reload(); });
  useEffect(() => { setRange(null); setLast(null); }, [id]);
  const rows = useMemo(() => (end ? Array.from({ length: days }, (_, index) => ({ from: dayOf(end - 1, -index), to: dayOf(end - 1, 1 - index) })) : []), [end, days]);
  const isEmpty = error?.status === 404;
  const spans = (data?.spans ?? []);
  const gaps = (data?.gaps ?? []);
  const choose = (one, plays) => setRange({ ...one, plays: Boolean(plays) });
  return html`
    <${Section} id="timeline" icon="calendar" title=${id} actions=${html`
      <${Button} icon="chevron-left" label="Earlier" onClick=${() => setLast(dayOf(end - 1, 1 - days))} />
      <${Button} icon="chevron-right" label="Later" disabled=${!end || end > now} onClick=${() => setLast(dayOf(end - 1, 1 + days))} />
      <select aria-label="Days" value=${days} onChange=${(event) => setDays(Number(event.target.value))}>${SHOWN_DAYS.map((number) => html`<option value=${number}>${number} days</option>`)}</select>
      <${LinkButton} href=${`#/?stream=${encodeURIComponent(id)}`} icon="film">Recordings</${LinkButton}>`}>
      ${error && !isEmpty && html`<${Fault} error=${error} retry=${reload} />`}
      ${(isLoading || newest.isLoading) && html`<${Loading} what="the timeline" />`}
      <div class="hours" aria-hidden="true">${[0, 3, 6, 9, 12, 15, 18, 21].map((hour) => html`<span style=${{ left: `${(hour / 24) * 100}%` }}>${hour}:00</span>`)}</div>
      <ol class="days">${rows.map((row) => html`<${Day} key=${row.from} ...${row} spans=${spans} gaps=${gaps} range=${range} onRange=${choose} now=${now} />`)}</ol>
      <ul class="legend"><li><i class="span"></i>recorded</li><li><i class="away"></i>recorded, not on this disk or not MP4</li><li><i class="gap"></i>not recorded</li></ul>
      <${Play} key=${id} id=${id} range=${range} spans=${spans} gaps=${gaps} onRange=${setRange} />
    </${Section}>`;
};

export const Streams = ({ id, query }) => html`
  <div class=${`streams ${id ? 'has-one' : ''}`}>
    <header class="bar-top"><h1>Streams</h1>${id && html`<${LinkButton} href="#/streams" icon="chevron-left" kind="phone-only">All streams</${LinkButton}>`}</header>
    <div class="streams-body">
      <${List} current=${id} />
      <div class="stream-main">${id ? html`<${Timeline} key=${id} id=${id} startAt=${Number(query.get('at')) || null} />` : html`<${Empty} icon="calendar" title="Choose a stream"><p>Its timeline shows what was recorded when, and plays any span of it.</p></${Empty}>`}</div>
    </div>
  </div>`;
