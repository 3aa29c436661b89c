// The library: every VoD as a grid or a table, found by words, filters and months.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.mjs';
import { at, get, session, useAnswer, useEvents, vodPath, wantLogin, post, useEvery, wholeQueue } from './api.js';
import { Badge, Button, Empty, Fault, Icon, Loading, Time, attempt, copyText, html, later, say, useLate } from './parts.js';
import { bothTimes, clock, codec, container, counted, dayAndTime, isTruncated, month, size } from './format.js';
import { PAGE, Pages, Scroller } from './grid.js';
import { cellAt, posterOf, spriteOf } from './pictures.js';

const DeleteDialog = later(() => import('./dialogs.js'), 'DeleteDialog');
const VerifyDialog = later(() => import('./dialogs.js'), 'VerifyDialog');

const TILE_PX = 248;
const TEXT_PX = 56;
const GAP_PX = 16;
const PHONE_PX = 560;
const PHONE_ROW_PX = 88;
const TABLE_ROW_PX = 44;
/** Recordings of one range at most; as many are asked for at once. */
const MOST_IN_RANGE = 1000;

const OUTCOMES = [['', 'Any outcome'], ['kept', 'Kept'], ['spliced', 'Spliced'], ['remuxed', 'Remuxed'], ['salvaged', 'Salvaged']];
const STATES = [['', 'Anywhere'], ['local', 'On this disk'], ['freed', 'Freed'], ['delivered', 'Delivered'], ['defective', 'With defects']];

const TIMES = [['', 'Any time'], ['0', 'Today'], ['6', 'Last 7 days'], ['29', 'Last 30 days'], ['own', 'From … to …']];

/** Loaded when a time is chosen. */
const period = () => import('./period.js');

const whenIdle = globalThis.requestIdleCallback ?? setTimeout;

/** How long the view is not drawn because the first page may come: drawn empty, it would be drawn twice. */
const AT_ONCE_MS = 150;
/** The first page of the whole library, on its way while the page is loaded. */
let early = /^#?\/?$/.test(location.hash) ? get('vods', { offset: 0, limit: PAGE }) : null;
/** Ends when the first page is there, or nobody should wait for it any longer. */
export const firstPage = Promise.race([early, new Promise((done) => { setTimeout(done, AT_ONCE_MS); })]).catch(() => {});

/** A page of VoDs. */
function ask({ offset, limit, ...choice }) {
  const isFirst = offset === 0 && !Object.values(choice).some(Boolean);
  const answer = (isFirst && early) || get('vods', { offset, limit, ...choice });
  early = null;
  return answer;
}

/** Whether another node has it. */
export const isElsewhere = (vod) => vod.node?.isThis === false;

export const videoOf = (vod) => vod.tracks?.find((track) => track.kind === 'video');

/** A hue that is always the same for a stream. */
export const hueOf = (text) => [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);

/** What is worth knowing at a glance. */
export const Badges = ({ vod, all }) => {
  const stores = vod.remote ?? [];
  const isPaused = stores.some((copy) => copy.differs);
  return html`
    ${vod.salvaged && html`<${Badge} kind="warn" icon=${all ? 'wrench' : undefined} title="Rebuilt after a crash">Salvaged</${Badge}>`}
    ${isTruncated(vod) && html`<${Badge} kind="warn" title="The end is missing">Truncated</${Badge}>`}
    ${isPaused && html`<${Badge} kind="bad" title="A copy in a store is not what was delivered">Copy differs</${Badge}>`}
    ${vod.node && (all || !vod.node.isThis) && html`<${Badge} kind=${vod.node.isAlive ? '' : 'warn'} icon=${all ? 'layers' : undefined} title=${vod.node.isAlive ? 'The node that has it' : 'The node that has it is not reachable'}>${vod.node.name}</${Badge}>`}
    ${vod.freedAt && html`<${Badge} title="The local file was freed; it plays from the store">Freed</${Badge}>`}
    ${all && stores.map((copy) => html`<${Badge} kind="ok" icon="cloud" title=${copy.url}>${copy.target}</${Badge}>`)}
    ${all && !vod.freedAt && html`<${Badge} icon="hard-drive" title=${vod.filePath}>${isElsewhere(vod) ? 'On its disk' : 'On this disk'}</${Badge}>`}`;
};

const Poster = ({ vod }) => {
  const [isBroken, setBroken] = useState(false);
  const [cell, setCell] = useState(null);
  const [poster, sprite] = isElsewhere(vod) ? [] : [posterOf(vod), spriteOf(vod)];
  useEffect(() => setBroken(false), [vod.vodId]);
  const video = videoOf(vod);
  const kind = video ? codec(video.codec) : codec(vod.tracks?.[0]?.codec ?? container(vod.container));
  // The pointer goes through the recording from left to right.
  const scrub = (event) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    setCell(cellAt(sprite.tiles, ((event.clientX - left) / width) * sprite.tiles.durationMs));
  };
  const rows = sprite && Math.ceil(sprite.tiles.count / sprite.tiles.columns);
  const part = (place, of) => `${of > 1 ? (100 * place) / (of - 1) : 0}%`;
  const sheet = cell && {
    backgroundImage: `url("${sprite.image}")`, backgroundSize: `${100 * sprite.tiles.columns}% ${100 * rows}%`,
    backgroundPosition: `${part(cell.column, sprite.tiles.columns)} ${part(cell.row, rows)}`,
  };
  return html`
    <div class="poster" onPointerMove=${sprite && scrub} onPointerLeave=${sprite && (() => setCell(null))} data-initial=${[...(vod.streamName || '?')][0]} data-kind=${kind} style=${{ '--hue': hueOf(vod.streamId) }}>
      ${poster && !isBroken && html`<img src=${poster} alt="" decoding="async" onError=${() => setBroken(true)} />`}
      ${cell && html`<span class="scrub" style=${sheet}></span>`}
      <span class="length">${clock(vod.duration)}</span>
    </div>`;
};

const Tile = ({ vod, index, total, place, isPicked, isCurrent, onPick, onKey }) => {
  if (!vod) return html`<div class="tile waiting" style=${place}><div class="poster"></div></div>`;
  const name = vod.description || vod.streamName;
  return html`
    <div class=${`tile ${isPicked ? 'picked' : ''}`} style=${place} role="listitem" aria-setsize=${total} aria-posinset=${index + 1}>
      <a class="tile-link" href=${`#/vod/${vod.vodId}`} data-at=${index} tabIndex=${isCurrent ? 0 : -1} onKeyDown=${onKey}>
        <${Poster} vod=${vod} />
        <span class="tile-name" title=${vod.vodName}>${name}</span>
        <span class="tile-meta" title=${bothTimes(vod.startTime)}>${dayAndTime(vod.startTime)} · ${size(vod.fileSize)}</span>
        <span class="tile-badges"><${Badges} vod=${vod} /></span>
      </a>
      <input type="checkbox" class="pick" aria-label=${`Select ${vod.vodName}`} checked=${isPicked} tabIndex=${isCurrent ? 0 : -1} onClick=${(event) => onPick(index, vod, event.shiftKey)} />
    </div>`;
};

const COLUMNS = ['Name', 'Stream', 'Started', 'Duration', 'Size', 'Codec', 'Outcome', 'Stored'];

const Row = ({ vod, index, place, isPicked, isCurrent, onPick, onKey }) => {
  if (!vod) return html`<div class="row waiting" role="row" style=${place}><span role="cell"></span></div>`;
  const video = videoOf(vod);
  const stored = [...(vod.freedAt ? [] : ['disk']), ...(vod.remote ?? []).map((copy) => copy.target)];
  return html`
    <div class=${`row ${isPicked ? 'picked' : ''}`} role="row" aria-rowindex=${index + 2} style=${place}>
      <span role="cell" class="check"><input type="checkbox" class="pick" aria-label=${`Select ${vod.vodName}`} checked=${isPicked} tabIndex=${isCurrent ? 0 : -1} onClick=${(event) => onPick(index, vod, event.shiftKey)} /></span>
      <span role="cell" class="main"><a href=${`#/vod/${vod.vodId}`} data-at=${index} tabIndex=${isCurrent ? 0 : -1} onKeyDown=${onKey} title=${vod.vodName}>${vod.vodName}</a></span>
      <span role="cell">${vod.streamName}</span>
      <span role="cell" title=${bothTimes(vod.startTime)}>${dayAndTime(vod.startTime)}</span>
      <span role="cell" class="number">${clock(vod.duration)}</span>
      <span role="cell" class="number">${size(vod.fileSize)}</span>
      <span role="cell">${video ? `${codec(video.codec)} ${video.height ?? ''}` : codec(vod.tracks?.[0]?.codec ?? '')}</span>
      <span role="cell">${vod.salvaged ? html`<${Badge} kind="warn">Salvaged</${Badge}>` : isTruncated(vod) ? html`<${Badge} kind="warn">Truncated</${Badge}>` : vod.outcome}</span>
      <span role="cell" class="stored" title=${(vod.remote ?? []).map((copy) => copy.url).join('\n')}>${stored.join(', ') || '–'}</span>
    </div>`;
};

/** Months and how many VoDs each has; a slider down the side. */
const Scrubber = ({ months, total, position, across, onJump }) => {
  const bar = useRef(null);
  const [hover, setHover] = useState(null);
  const starts = useMemo(() => {
    let before = 0;
    return months.map(([key, count]) => {
      const start = before;
      before += count;
      return { key, start, count };
    });
  }, [months]);
  if (starts.length < 2) return null;
  // A month that begins within the row at the top is the one that was jumped to.
  const found = starts.findLastIndex((entry) => entry.start < position + across);
  const current = Math.max(0, found);
  const atPointer = (event) => {
    const { top, height } = bar.current.getBoundingClientRect();
    const part = Math.min(0.9999, Math.max(0, (event.clientY - top) / height));
    return starts.findLast((entry) => entry.start <= part * total) ?? starts[0];
  };
  const years = [];
  for (const { key, start } of starts) {
    const part = start / total;
    const year = key.slice(0, 4);
    const before = years.at(-1);
    if (before?.year !== year && (!before || part - before.part > 0.035)) years.push({ year, part });
  }
  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 12, PageUp: -12 }[event.key];
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? starts.length - 1 : step ? Math.min(starts.length - 1, Math.max(0, current + step)) : null;
    if (to === null) return;
    event.preventDefault();
    onJump(starts[to].start);
  };
  const drag = (event) => {
    if (event.type === 'pointerdown') bar.current.setPointerCapture(event.pointerId);
    const entry = atPointer(event);
    setHover({ entry, part: entry.start / total });
    if (event.type === 'pointerdown' || event.buttons) onJump(entry.start);
  };
  return html`
    <div class="scrubber" ref=${bar} role="slider" tabIndex="0" aria-label="Month" aria-orientation="vertical" aria-valuemin="0" aria-valuemax=${starts.length - 1}
      aria-valuenow=${current} aria-valuetext=${`${month(starts[current].key)}, ${counted(starts[current].count, 'recording')}`}
      onKeyDown=${onKey} onPointerDown=${drag} onPointerMove=${drag} onPointerLeave=${() => setHover(null)}>
      ${years.map(({ year, part }) => html`<span key=${year} class="year" style=${{ top: `${part * 100}%` }}>${year}</span>`)}
      <span class="thumb" style=${{ top: `${(position / total) * 100}%` }}></span>
      ${hover && html`<span class="tip" style=${{ top: `${hover.part * 100}%` }}>${month(hover.entry.key, 'short')} · ${hover.entry.count.toLocaleString()}</span>`}
    </div>`;
};

const LiveStrip = () => {
  const [live, setLive] = useState([]);
  const look = () => get('live').then(({ items }) => setLive(items.filter((item) => item.isWritten)), () => {});
  useEffect(() => { look(); }, [session.epoch]);
  useEvery(4000, look);
  useEvents(['recording.'], look);
  if (!live.length) return null;
  return html`<a class="live-strip" href="#/pipeline"><span class="dot rec"></span><b>${counted(live.length, 'recording')} being made</b>
    <span class="fade">${live.slice(0, 4).map((item) => item.streamId).join(', ')}${live.length > 4 ? ' …' : ''}</span></a>`;
};

const FirstRun = () => {
  const { data } = useAnswer(() => get('status'), []);
  return html`<${Empty} icon="film" title="No recordings yet">
    <p>aftercast watches these directories and shows each recording as soon as it is finished:</p>
    <ul class="plain">${data?.roots.map((root) => html`<li><code>${root.path}</code> ${!root.isAvailable && html`<${Badge} kind="bad">not available</${Badge}>`}</li>`)}</ul>
    <p>Make one with your ingest server, or copy one there. Recordings that are somewhere else: <code>aftercast process DIRECTORY</code>.</p>
    <p><a href="#/doctor">Doctor</a> checks permissions, disks and stores. <a href="#/pipeline">Pipeline</a> shows what waits, and why.</p>
  </${Empty}>`;
};

/** Whether the filters of the library show a VoD. */
const isShown = (vod, { text, stream, outcome, state, node, from, to }) => (!from || vod.startTime >= new Date(`${from}T00:00`)) && (!to || vod.startTime <= new Date(`${to}T23:59:59.999`))
  && (!stream || vod.streamId === stream) && (!outcome || vod.outcome === outcome) && (!node || vod.node?.id === node)
  && (!state || { local: !vod.freedAt, freed: vod.freedAt, delivered: vod.remote?.length, defective: vod.defects.length }[state])
  && (!text || [vod.vodId, vod.vodName, vod.streamId, vod.streamName, vod.description ?? '', ...Object.values(vod.metadata ?? {})].some((field) => field.toLowerCase().includes(text.toLowerCase())));

/** The choice of the library as it is in the address. */
const choiceOf = (query) => Object.fromEntries(['text', 'stream', 'outcome', 'state', 'node', 'from', 'to'].map((name) => [name, query.get(name) ?? '']));

export const Library = ({ query, go }) => {
  const choice = choiceOf(query);
  const isTable = query.get('view') === 'table';
  const oldestFirst = query.get('order') === 'oldest';
  const { nodes, fleet } = session;
  const key = JSON.stringify([choice, oldestFirst, session.epoch, nodes.length]);
  const [, redraw] = useState(0);
  const [position, setPosition] = useState(0);
  const [picked, setPicked] = useState(new Map());
  const [current, setCurrent] = useState(0);
  const [dialog, setDialog] = useState(null);
  const [months, setMonths] = useState([]);
  const [news, setNews] = useState(0);
  const lastPicked = useRef(null);
  const control = useRef(null);
  const [text, setText] = useState(choice.text);
  const [stream, setStream] = useState(choice.stream);

  const [isTimed, setTimed] = useState(false);

  const change = (name, value, ...more) => {
    const next = new URLSearchParams(query);
    for (const [each, to] of [[name, value], ...more]) {
      if (to) next.set(each, to);
      else next.delete(each);
    }
    go(`/?${next}`, true);
  };
  // The address follows what is typed, and the fields follow an address that came from elsewhere.
  const sent = useRef(choice);
  const follow = (name) => (value) => {
    if (value === choice[name]) return;
    sent.current = { ...sent.current, [name]: value };
    change(name, value);
  };
  useLate(text, 250, follow('text'));
  useLate(stream, 250, follow('stream'));
  useEffect(() => {
    if (choice.text !== sent.current.text) setText(choice.text);
    if (choice.stream !== sent.current.stream) setStream(choice.stream);
    sent.current = choice;
  }, [choice.text, choice.stream]);

  // With a fleet, all nodes' recordings.
  const { from, to, ...filters } = choice;
  const asked = { ...filters, node: choice.node || (nodes.length ? 'all' : '') };
  const hasTime = Boolean(from || to);
  // Without the fleet's database, a node of the address can only be left.
  const others = nodes.length || !choice.node ? nodes : [{ id: choice.node, name: 'Another node' }];
  const pages = useMemo(() => {
    const page = async (offset, limit) => {
      if (!hasTime) return ask({ offset, limit, ...asked, oldestFirst: oldestFirst || undefined });
      const { pageOf } = await period();
      return pageOf(asked, await made.within(), { offset, limit, oldestFirst });
    };
    const made = new Pages(page, () => redraw((count) => count + 1));
    made.within = () => (made.places ??= period().then(({ positionsOf }) => positionsOf(asked, choice)));
    return made;
  }, [key]);
  const readMonths = () => get('vods/histogram', { by: 'month', ...asked }).then(async ({ counts }) => {
    const all = Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1));
    const shown = hasTime ? (await period()).countsWithin(all, await pages.within()) : all;
    setMonths(oldestFirst ? shown : shown.reverse());
  }).catch(() => {});
  useLayoutEffect(() => {
    pages.want(0, 40);
    setPosition(0);
    setCurrent(0);
    setNews(0);
    lastPicked.current = null;
    return () => pages.end();
  }, [pages]);
  // The months need an index of all VoDs, which the daemon makes when it is first asked for: tiles and posters go before.
  useEffect(() => { if (pages.total !== null) whenIdle(readMonths); }, [pages, pages.total !== null]);
  const refresh = () => {
    setNews(0);
    pages.places = null;
    pages.refresh();
    readMonths();
  };
  useEvents(['vod.', 'local.freed', 'delivery.completed'], (all) => {
    all.forEach((event) => event.type === 'vod.deleted' && setPicked((before) => (before.has(event.vod.vodId) ? new Map([...before].filter(([id]) => id !== event.vod.vodId)) : before)));
    const added = all.filter((event) => event.type === 'vod.catalogued').length;
    // Nothing moves under the eyes of who reads further down.
    if ((control.current?.top ?? 0) > 40 && added) setNews((count) => count + added);
    else refresh();
  }, 500);
  // What other nodes do is not among this node's events.
  useEvery(30_000, () => { if (nodes.length && (control.current?.top ?? 0) <= 40) refresh(); });

  const total = pages.total ?? 0;
  const hasFilter = Object.values(choice).some(Boolean);
  /** All between the one selected last and this one, also those that are not loaded. */
  const range = async (index) => {
    const anchor = lastPicked.current;
    const first = Math.min(anchor.index, index);
    const number = Math.abs(anchor.index - index) + 1;
    if (number > MOST_IN_RANGE) return say(`This range has ${number.toLocaleString()} recordings. Select at most ${MOST_IN_RANGE.toLocaleString()} at once.`, 'bad');
    let found = Array.from({ length: number }, (_, each) => pages.item(first + each));
    if (found.includes(undefined)) found = (await pages.read(first, number)).items;
    if (pages.isOver) return undefined;
    if (!found.some((each) => each?.vodId === anchor.id)) return say('The list has changed meanwhile. Select the first recording of the range again.', 'bad');
    return found;
  };
  const pick = async (index, vod, isRange) => {
    const found = isRange && lastPicked.current ? await attempt(() => range(index)) : [vod];
    setPicked((before) => {
      const next = new Map(before);
      if (!isRange && next.delete(vod.vodId)) return next;
      found?.forEach((each) => next.set(each.vodId, each));
      return next;
    });
    if (found) lastPicked.current = { index, id: vod.vodId };
  };
  const onKey = (index) => (event) => {
    const across = isTable ? 1 : control.current.columns;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, PageDown: across * 4, PageUp: -across * 4 }[event.key];
    let to = event.key === 'Home' ? 0 : event.key === 'End' ? total - 1 : step ? index + step : null;
    if (event.key === ' ') {
      event.preventDefault();
      const vod = pages.item(index);
      if (vod) pick(index, vod, event.shiftKey);
      return;
    }
    if (to === null) return;
    event.preventDefault();
    to = Math.min(total - 1, Math.max(0, to));
    setCurrent(to);
    control.current.focus(to);
  };
  const see = (firstRow, first, last) => {
    setPosition(firstRow);
    if (current < first || current > last) setCurrent(first);
    pages.want(first, last);
  };
  const chooseTime = async (value) => {
    setTimed(value === 'own');
    if (value !== 'own') change('from', value && (await period()).daysAgo(Number(value)), ['to', '']);
  };
  const dateField = (name, label, bounds) => html`<label>${label}<input type="date" value=${choice[name]} ...${bounds} onChange=${(event) => change(name, event.target.value)} /></label>`;
  const draw = (index, place) => {
    const vod = pages.item(index);
    const shared = { key: `${index}`, vod, index, total, place, isPicked: vod && picked.has(vod.vodId), isCurrent: index === current, onPick: pick, onKey: onKey(index) };
    return isTable ? html`<${Row} ...${shared} />` : html`<${Tile} ...${shared} />`;
  };
  const columns = (width) => (isTable || width < PHONE_PX ? 1 : Math.max(2, Math.floor((width + GAP_PX) / TILE_PX)));
  const rowHeight = (width, across) => {
    if (isTable) return TABLE_ROW_PX;
    return width < PHONE_PX ? PHONE_ROW_PX : Math.round((((width + GAP_PX) / across - GAP_PX) * 9) / 16) + TEXT_PX + GAP_PX;
  };

  return html`
    <div class=${`library ${picked.size ? 'picking' : ''}`}>
      <header class="bar-top">
        <h1>Library</h1>
        <label class="search"><${Icon} name="search" /><input type="search" placeholder="Search" aria-label="Search name, stream, description" value=${text} onInput=${(event) => setText(event.target.value)} data-search /></label>
        <input class="stream-filter" type="text" placeholder="Stream" aria-label="Stream" value=${stream} onInput=${(event) => setStream(event.target.value)} />
        <select aria-label="Outcome" value=${choice.outcome} onChange=${(event) => change('outcome', event.target.value)}>${OUTCOMES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select>
        <select aria-label="State" value=${choice.state} onChange=${(event) => change('state', event.target.value)}>${STATES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select>
        <select aria-label="Time" value=${hasTime || isTimed ? 'own' : ''} onChange=${(event) => chooseTime(event.target.value)}>${TIMES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select>
        ${fleet && html`<select aria-label="Node" value=${choice.node} disabled=${!others.length} onChange=${(event) => change('node', event.target.value)}><option value="">${nodes.length ? 'All nodes' : `${fleet.name} only`}</option>${others.map(({ id, name, isAlive }) => html`<option value=${id}>${name}${isAlive ? '' : ' (away)'}</option>`)}</select>`}
        <select aria-label="Order" value=${oldestFirst ? 'oldest' : ''} onChange=${(event) => change('order', event.target.value)}><option value="">Newest first</option><option value="oldest">Oldest first</option></select>
        <div class="toggle" role="group" aria-label="View">
          <${Button} icon="grid-2x2" label="Grid" aria-pressed=${!isTable} onClick=${() => change('view', '')} />
          <${Button} icon="table-2" label="Table" aria-pressed=${isTable} onClick=${() => change('view', 'table')} />
        </div>
        <span class="total" role="status">${pages.total === null ? '' : counted(total, 'recording')}</span>
      </header>
      ${(hasTime || isTimed) && html`<div class="dates">${dateField('from', 'From', { max: to })}${dateField('to', 'To', { min: from })}</div>`}
      <${LiveStrip} />
      ${news > 0 && html`<button type="button" class="pill" onClick=${() => { control.current.jump(0); refresh(); }}>${counted(news, 'new recording')}: show</button>`}
      ${pages.error && html`<${Fault} error=${pages.error} retry=${refresh} />`}
      ${pages.total === null && !pages.error && html`<${Loading} what="recordings" />`}
      ${pages.total === 0 && (hasFilter ? html`<${Empty} icon="search" title="Nothing found"><p>No recording has all of this.</p><${Button} onClick=${() => { setText(''); setStream(''); go('/', true); }}>Clear filters</${Button}></${Empty}>` : html`<${FirstRun} />`)}
      <div class=${`shelf ${isTable ? 'as-table' : ''}`} hidden=${!total}>
        <${Scroller} key=${`${key}${isTable}`} total=${total} count=${total + 1} columns=${columns} rowHeight=${rowHeight} gap=${isTable ? 0 : GAP_PX} draw=${draw} onSee=${see} control=${control}
          role=${isTable ? 'table' : 'list'} label="Recordings"
          head=${isTable && html`<div class="row head" aria-hidden="true"><span class="check"></span>${COLUMNS.map((name) => html`<span>${name}</span>`)}</div>`} />
        <${Scrubber} months=${months} total=${total} position=${position} across=${control.current?.columns ?? 1} onJump=${(index) => control.current.jump(index)} />
      </div>
      ${picked.size > 0 && html`<${Picked} picked=${[...picked.values()]} hidden=${[...picked.values()].filter((vod) => !isShown(vod, choice)).length} clear=${() => setPicked(new Map())} open=${setDialog} />`}
      ${dialog === 'delete' && html`<${DeleteDialog} vods=${[...picked.values()]} onClose=${(isDone) => { setDialog(null); if (isDone) { setPicked(new Map()); refresh(); } }} />`}
      ${dialog === 'verify' && html`<${VerifyDialog} vods=${[...picked.values()]} onClose=${() => setDialog(null)} />`}
    </div>`;
};

/** What can be done with those that are selected. */
const Picked = ({ picked, hidden, clear, open }) => {
  const mayOperate = (then) => (session.role === 'operate' ? then() : wantLogin('This needs the operate token.'));
  const copyUrls = () => attempt(async () => {
    await copyText(picked.map((vod) => new URL(at(vodPath(vod.vodId, '/media')), document.baseURI).href).join('\n'));
    say(`${counted(picked.length, 'URL')} copied.`);
  });
  const download = async () => {
    for (const vod of picked) {
      downloadVod(vod);
      // Browsers drop downloads that begin at once.
      await new Promise((done) => setTimeout(done, 400));
    }
  };
  const again = () => mayOperate(() => attempt(async () => {
    const ids = new Set(picked.map((vod) => vod.vodId));
    const { deliveries } = await wholeQueue();
    const waiting = deliveries.map(({ delivery }) => delivery).filter((delivery) => ids.has(delivery.asset.vodId));
    if (!waiting.length) return say('Nothing of these waits for delivery. “Verify” uploads again what differs in a store.');
    const { retried } = await post('queue/retry', { ids: waiting.map((delivery) => delivery.id) });
    return say(`${counted(retried, 'delivery', 'deliveries')} tried again now.`);
  }));
  const bytes = picked.reduce((sum, vod) => sum + vod.fileSize, 0);
  return html`
    <div class="picked-bar" role="toolbar" aria-label="Selected recordings">
      <b>${picked.length.toLocaleString()} selected</b><span class="fade">${size(bytes)}</span>
      ${hidden > 0 && html`<${Badge} kind="warn" title="They are selected, but the filters do not show them">${hidden.toLocaleString()} hidden by the filters</${Badge}>`}
      <${Button} icon="shield-check" onClick=${() => mayOperate(() => open('verify'))}>Verify</${Button}>
      <${Button} icon="download" onClick=${download}>Download</${Button}>
      <${Button} icon="link" onClick=${copyUrls}>Copy URLs</${Button}>
      <${Button} icon="cloud-upload" onClick=${again}>Deliver again</${Button}>
      <${Button} icon="trash-2" kind="danger" onClick=${() => mayOperate(() => open('delete'))}>Delete</${Button}>
      <${Button} icon="x" label="Clear selection" onClick=${clear} />
    </div>`;
};

export function downloadVod(vod) {
  const link = document.createElement('a');
  link.href = at(vodPath(vod.vodId, '/media'), { download: 1 });
  link.download = vod.vodName;
  link.click();
}
