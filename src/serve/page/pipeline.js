// The pipeline, live: what is recorded, finished, sent, what waits and why, what failed, and how long the disk lasts.

import { useEffect, useRef, useState } from './vendor/hooks.mjs';
import { get, lines, post, session, upload, useAnswer, useEvents, useEvery, wantLogin, wholeQueue } from './api.js';
import { Badge, Bar, Button, Closed, Command, Empty, Fault, Icon, Loading, Section, Several, Time, Words, attempt, html, say } from './parts.js';
import { ago, base, clock, counted, folder, size, span } from './format.js';
import { Defects } from './vod.js';

// Ids of a request; its body has a bound.
const AT_ONCE = 2000;
const MOST_REFERENCE_BYTES = 64 << 20;
const KEPT_SAMPLES = 240;
const LOOK_MS = 2000;
// A trend of less time says nothing.
const TREND_MS = 20_000;
const RECENT_MS = 600_000;

const sizeOf = (delivery) => delivery.asset.files.reduce((sum, file) => sum + (file.fingerprint.size_bytes ?? file.fingerprint.sizeBytes ?? 0), 0);
const nameOf = (delivery) => base(delivery.asset.files.at(-1)?.path ?? delivery.asset.id);
const mayOperate = (then) => () => (session.role === 'operate' ? then() : wantLogin('This needs the operate token.'));

/** Measured values by name, the last ones: leaving the view does not forget them. */
const histories = new Map();

function useHistory(name, value) {
  if (!histories.has(name)) histories.set(name, []);
  const history = histories.get(name);
  useEffect(() => {
    if (value === undefined || Date.now() - (history.at(-1)?.[0] ?? 0) < LOOK_MS / 2) return;
    history.push([Date.now(), value]);
    if (history.length > KEPT_SAMPLES) history.shift();
  });
  return history;
}

/** Units for each second, over the last minutes; `null` where less is known. */
function trend(history) {
  if (history.length < 2) return null;
  const last = history.at(-1);
  const first = history.find(([at]) => last[0] - at < RECENT_MS);
  return last[0] - first[0] < TREND_MS ? null : ((last[1] - first[1]) / (last[0] - first[0])) * 1000;
}

const Spark = ({ history, label }) => {
  if (history.length < 2) return html`<div class="spark"></div>`;
  const values = history.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [from, to] = [history[0][0], history.at(-1)[0]];
  // A line that hardly moves is drawn flat: noise must not look like a cliff.
  const reach = Math.max(high - low, high * 0.002, 1);
  const points = history.map(([at, value]) => `${((at - from) / (to - from || 1)) * 100},${28 - ((value - low) / reach) * 26}`).join(' ');
  return html`<svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label=${label}><polyline points=${points} vector-effect="non-scaling-stroke"></polyline></svg>`;
};

const Gauge = ({ icon, name, value, note, history, label, kind }) => html`
  <div class=${`gauge ${kind ?? ''}`}><p class="gauge-name"><${Icon} name=${icon} />${name}</p><p class="gauge-value">${value}</p><p class="fade">${note}</p>${history && html`<${Spark} history=${history} label=${label} />`}</div>`;

const Disk = ({ root }) => {
  const history = useHistory(root.path, root.freeBytes);
  const pace = trend(history);
  const left = pace !== null && pace < -1000 ? (root.freeBytes / -pace) * 1000 : null;
  const note = !root.isAvailable ? 'The directory is not available.' : left === null ? (pace === null ? 'Measuring …' : 'Not filling up.') : `Full in ${span(left)} at this rate.`;
  return html`<${Gauge} icon="hard-drive" name=${base(root.path) || root.path} value=${root.freeBytes === undefined ? '–' : `${size(root.freeBytes)} free`} note=${note} history=${history}
    label=${`Free space of ${root.path}. ${note}`} kind=${!root.isAvailable ? 'bad' : left !== null && left < 3_600_000 ? 'warn' : ''} />`;
};

const Backlog = ({ deliveries }) => {
  const bytes = deliveries.reduce((sum, { delivery }) => sum + sizeOf(delivery), 0);
  const history = useHistory('', bytes);
  const pace = trend(history);
  const note = !deliveries.length ? 'Everything is delivered.' : pace !== null && pace < -1000 ? `Done in ${span((bytes / -pace) * 1000)} at this rate.` : `${counted(deliveries.length, 'delivery', 'deliveries')}`;
  return html`<${Gauge} icon="cloud-upload" name="Backlog" value=${size(bytes)} note=${note} history=${history} label=${`Bytes that wait for delivery. ${note}`} />`;
};

/** A piece of work with its rate, measured between two looks. */
const Work = ({ work }) => {
  const seen = useRef([]);
  useEffect(() => {
    seen.current.push([Date.now(), work.doneBytes]);
    if (seen.current.length > 15) seen.current.shift();
  });
  const [first] = seen.current;
  const pace = first && Date.now() - first[0] > 900 ? ((work.doneBytes - first[1]) / (Date.now() - first[0])) * 1000 : null;
  const left = pace > 0 && work.totalBytes > work.doneBytes ? ((work.totalBytes - work.doneBytes) / pace) * 1000 : null;
  return html`<li class="work"><span class="work-name">${work.label}</span>
    <${Bar} done=${work.doneBytes} total=${work.totalBytes} label=${work.label} />
    <span class="number">${size(work.doneBytes)} of ${size(work.totalBytes)}</span>
    <span class="number fade">${pace === null ? '' : `${size(pace)}/s`}</span><span class="number fade">${left === null ? '' : `${span(left)} left`}</span></li>`;
};

const Live = ({ items, total }) => html`
  <ul class="rows"><${Several} items=${items} beyond=${total - items.length} draw=${(item) => html`
    <li key=${item.path}><span class=${`dot ${item.isWritten ? 'rec' : 'warn'}`}></span><span class="grow"><b>${item.streamId}</b> <span class="fade">${base(item.path)}</span>
      ${!item.isWritten && html`<span class="reason"><${Words} text=${item.reason} /></span>`}</span>
      <span class="number">${size(item.sizeBytes)}</span>
      <span class="number fade">${item.isWritten ? (item.startMs ? html`<${Time} ms=${item.startMs}>${clock(Date.now() - item.startMs)}</${Time}>` : '') : ago(item.untilMs)}</span></li>`} /></ul>`;

/**
 * What of a message is the reason, and what is advice. Messages name the object and how long it was tried, so that no two are the same:
 * `target `x`: cannot check `key`: connection refused: …. The recording is safe …. Check …`.
 */
export function reasonOf(message) {
  const [first, ...advice] = message.replace(/^target `[^`]*`: /, '').split(/\. (?=[A-Z])/);
  const cause = first.replace(/^cannot [^:`]*`[^`]*`: /, '');
  const short = cause.split(': ')[0].replace(/\.$/, '');
  return { short: short[0].toUpperCase() + short.slice(1), advice: advice.join('. ') };
}

/** Deliveries that failed, by target and reason. */
function groupsOf(deliveries) {
  const groups = new Map();
  for (const queued of deliveries) {
    const { delivery } = queued;
    const fault = delivery.state.state === 'stuck' ? ['permanent', delivery.state.message] : delivery.state.lastFault;
    if (!fault) continue;
    const reason = reasonOf(fault[1]);
    const key = JSON.stringify([delivery.target, queued.class, queued.reason]);
    const group = groups.get(key) ?? { key, target: delivery.target, message: fault[1], reason, isStuck: true, items: [], dueMs: Infinity };
    group.items.push(delivery);
    if (delivery.state.state !== 'stuck') {
      group.isStuck = false;
      group.dueMs = Math.min(group.dueMs, Math.max(delivery.state.dueMs, queued.pausedUntilMs ?? 0));
    }
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => b.items.length - a.items.length);
}

const Failed = ({ group, onDone }) => {
  const retry = mayOperate(() => attempt(async () => {
    let retried = 0;
    for (let from = 0; from < group.items.length; from += AT_ONCE) {
      retried += (await post('queue/retry', { ids: group.items.slice(from, from + AT_ONCE).map((item) => item.id) })).retried;
    }
    say(`${counted(retried, 'delivery', 'deliveries')} to ${group.target} tried again now.`);
    onDone();
  }));
  return html`
    <li class="group"><div class="group-head"><${Icon} name="circle-alert" /><div class="grow"><p class="group-reason"><${Words} text=${group.reason.short} /></p>
      ${group.reason.advice && html`<p><${Words} text=${group.reason.advice} /></p>`}
      <p class="fade">${counted(group.items.length, 'delivery', 'deliveries')} to <b>${group.target}</b>, ${size(group.items.reduce((sum, item) => sum + sizeOf(item), 0))}. ${group.isStuck ? 'Not tried again by itself.' : html`Next try <${Time} ms=${group.dueMs} short>${ago(group.dueMs)}</${Time}>.`}</p></div>
      <${Button} kind="main" icon="rotate-ccw" onClick=${retry}>${group.items.length === 1 ? 'Retry' : `Retry all ${group.items.length.toLocaleString()}`}</${Button}></div>
      <details><summary>Files and message</summary><p class="message">${group.message}</p><ul class="plain"><${Several} items=${group.items} draw=${(item) => html`<li>${item.asset.vodId ? html`<a href=${`#/vod/${item.asset.vodId}`}>${nameOf(item)}</a>` : nameOf(item)} <span class="fade">${size(sizeOf(item))}, ${counted(item.attempts, 'attempt')}</span></li>`} /></ul></details></li>`;
};

const Waiting = ({ deliveries }) => html`
  <ul class="rows"><${Several} items=${deliveries} draw=${({ delivery, pausedUntilMs }) => {
    const due = Math.max(delivery.state.dueMs ?? 0, pausedUntilMs ?? 0);
    return html`<li key=${delivery.id}><${Icon} name="clock" /><span class="grow">${delivery.asset.vodId ? html`<a href=${`#/vod/${delivery.asset.vodId}`}>${nameOf(delivery)}</a>` : nameOf(delivery)} <span class="fade">to ${delivery.target}</span>
      ${pausedUntilMs && html`<span class="reason">the target is paused</span>`}</span><span class="number">${size(sizeOf(delivery))}</span><span class="number fade">${due > Date.now() ? html`<${Time} ms=${due} short>${ago(due)}</${Time}>` : 'due'}</span></li>`;
  }} /></ul>`;

/** An intact recording says how a stream is coded. */
const Reference = ({ recording, onDone }) => {
  const field = useRef(null);
  const [isSending, setSending] = useState(false);
  const send = (event) => attempt(async () => {
    const [file] = event.target.files;
    event.target.value = '';
    if (!file) return;
    if (file.size > MOST_REFERENCE_BYTES) throw new Error(`${file.name} is larger than ${MOST_REFERENCE_BYTES >> 20} MiB. A short recording of the same stream is enough.`);
    setSending(true);
    try {
      const { retried } = await upload(`streams/${encodeURIComponent(recording.streamId)}/reference/upload`, file);
      say(retried ? `${counted(retried, 'recording')} of ${recording.streamId} tried again now.` : `Learned how ${recording.streamId} is coded.`);
      onDone();
    } finally {
      setSending(false);
    }
  });
  return html`<div class="reference"><p>An intact recording of <b>${recording.streamId}</b> by the same encoder says what is missing. A few seconds are enough.</p>
    <input ref=${field} type="file" accept=".mp4,.mov,.webm,.mkv,.flv,video/*" hidden aria-label="Reference file" onChange=${send} />
    <${Button} kind="main" icon="cloud-upload" disabled=${isSending} onClick=${mayOperate(() => field.current.click())}>${isSending ? 'Sending …' : 'Upload a reference'}</${Button}></div>`;
};

const Quarantined = ({ recording, onDone }) => {
  const defects = recording.step?.defects ?? [];
  const needsReference = defects.some((defect) => defect.kind === 'needs_parameters');
  const quoted = `'${recording.path.replaceAll("'", "'\\''")}'`;
  const output = `'${base(recording.path).replaceAll("'", "'\\''").replace(/(\.\w+)*$/, '')}.recovered.mp4'`;
  return html`<li class="group"><div class="group-head"><${Icon} name="file-warning" /><div class="grow"><p class="group-reason">${base(recording.path)}</p><p class="fade"><code>${folder(recording.path)}</code></p></div></div>
    <${Defects} defects=${defects} />
    ${needsReference && html`<${Reference} recording=${recording} onDone=${onDone} /><details><summary>On the command line</summary><${Command} text=${`aftercast recover ${quoted} --reference GOOD.mp4 --output ${output}`} /></details>`}</li>`;
};

const Stopped = ({ items, onDone }) => {
  const groups = new Map();
  for (const item of items) {
    const why = item.postponed ?? item.step ?? {};
    const message = why.message ?? 'Unknown reason';
    const group = groups.get(message) ?? { message, items: [], dueMs: Infinity };
    group.items.push(item);
    group.dueMs = Math.min(group.dueMs, why.dueMs ?? why.due_ms ?? Infinity);
    groups.set(message, group);
  }
  const retry = (group) => mayOperate(() => attempt(async () => {
    say(`${counted(group.items.length, 'recording')} tried again.`);
    await lines('process', { paths: group.items.map((item) => item.path), mode: 'process' }, () => {});
    onDone();
  }));
  return html`<ul class="groups">${[...groups.values()].map((group) => html`
    <li class="group" key=${group.message}><div class="group-head"><${Icon} name="circle-alert" /><div class="grow"><p class="group-reason"><${Words} text=${group.message} /></p>
      <p class="fade">${counted(group.items.length, 'recording')}. ${group.dueMs === Infinity ? 'Not tried again by itself.' : html`Next try <${Time} ms=${group.dueMs} short>${ago(group.dueMs)}</${Time}>.`} The files are unchanged.</p></div>
      <${Button} kind="main" icon="rotate-ccw" onClick=${retry(group)}>${group.items.length === 1 ? 'Try again' : `Try all ${group.items.length} again`}</${Button}></div>
      <details><summary>Files</summary><ul class="plain"><${Several} items=${group.items} draw=${(item) => html`<li><code>${item.path}</code> <span class="fade">${counted(item.attempts, 'attempt')}</span></li>`} /></ul></details></li>`)}</ul>`;
};

/** Why a target is paused: a failure that all its deliveries share, if one is known. */
function causeOf(deliveries) {
  const faults = deliveries.map(({ delivery }) => delivery.state.lastFault).filter(Boolean);
  const fault = faults.find(([kind]) => kind === 'environment') ?? faults[0];
  return fault && reasonOf(fault[1]);
}

const Targets = ({ targets, deliveries, notFreed }) => html`
  <ul class="rows">${targets.map((target) => {
    const mine = deliveries.filter(({ delivery }) => delivery.target === target.name);
    const faults = mine.filter(({ delivery }) => delivery.state.lastFault || delivery.state.state === 'stuck').length;
    const kind = target.pausedUntilMs ? 'bad' : faults ? 'warn' : 'ok';
    const why = target.pausedUntilMs && causeOf(mine);
    const words = target.pausedUntilMs ? html`Paused until <${Time} ms=${target.pausedUntilMs} short />` : faults ? `${counted(faults, 'delivery fails', 'deliveries fail')}` : mine.length ? 'Working' : 'Everything delivered';
    return html`<li key=${target.name}><${Icon} name=${kind === 'bad' ? 'cloud-off' : 'cloud'} /><span class="grow"><b>${target.name}</b> ${notFreed.filter((one) => one.target === target.name).map((one) => html`<span class="reason">${one.reason}</span>`)}
      ${target.pausedUntilMs && html`<span class="reason"><${Words} text=${why ? why.short : 'The last delivery failed'} />. Tried again ${ago(target.pausedUntilMs)}.</span>`}</span>
      <${Badge} kind=${kind}>${words}</${Badge}><span class="number fade">${mine.length ? counted(mine.length, 'waiting', 'waiting') : ''}</span></li>`;
  })}</ul>`;

export const Pipeline = () => {
  const status = useAnswer(() => get('status'), []);
  const queue = useAnswer(wholeQueue, []);
  const live = useAnswer(() => get('live'), []);
  useEvery(LOOK_MS, () => { status.reload(); live.reload(); });
  useEvery(15_000, queue.reload);
  // A long queue is not read again for each of its events.
  useEvents(['delivery.', 'recording.', 'target.', 'vod.', 'local.', 'disk.'], queue.reload, (queue.data?.deliveries.length ?? 0) > 1000 ? 5000 : 400);
  const first = status.error && !status.data ? status : queue.error && !queue.data ? queue : null;
  if (first) return html`<${Closed} title="Pipeline"><${Fault} error=${first.error} retry=${first.reload} /></${Closed}>`;
  if (!status.data || !queue.data) return html`<${Loading} what="the pipeline" />`;

  const { deliveries, recordings, notFreed, unreadable } = queue.data;
  const groups = groupsOf(deliveries);
  const waiting = deliveries.filter(({ delivery }) => delivery.state.state === 'waiting' && !delivery.state.lastFault);
  const quarantined = recordings.filter((recording) => recording.state === 'quarantined');
  const leftOut = recordings.filter((recording) => recording.state === 'left out');
  const stopped = recordings.filter((recording) => recording.state !== 'quarantined' && recording.state !== 'left out');
  const recordingNow = live.data?.items ?? [];
  const { roots, targets, underWay, active, queued } = status.data;
  const inTheWay = [...status.data.notReady, ...roots.map((root) => root.refusal).filter(Boolean)];
  return html`
    <div class="pipeline">
      <header class="bar-top"><h1>Pipeline</h1></header>
      ${inTheWay.length > 0 && html`<div class="warn-text" role="alert"><${Icon} name="triangle-alert" /><span><${Words} text=${inTheWay.join('; ')} /></span></div>`}
      <div class="gauges">
        <${Gauge} icon="radio" name="Recording" value=${(live.data?.total ?? 0).toLocaleString()} note=${recordingNow.some((item) => item.isWritten) ? `${counted(recordingNow.filter((item) => item.isWritten).length, 'file')} being written` : 'Nothing is being written.'} />
        <${Gauge} icon="loader-circle" name="Finishing" value=${active.toLocaleString()} note=${queued ? `${counted(queued, 'recording')} in the queue` : 'The queue is empty.'} />
        <${Backlog} deliveries=${deliveries} />
        ${roots.map((root) => html`<${Disk} key=${root.path} root=${root} />`)}
      </div>
      ${groups.length > 0 && html`<${Section} id="failed" icon="circle-alert" title="Failed deliveries" count=${groups.reduce((sum, group) => sum + group.items.length, 0)} note="Grouped by reason. The local files are kept."><ul class="groups">${groups.map((group) => html`<${Failed} key=${group.key} group=${group} onDone=${queue.reload} />`)}</ul></${Section}>`}
      ${stopped.length > 0 && html`<${Section} id="stopped" icon="circle-alert" title="Failed recordings" count=${stopped.length}><${Stopped} items=${stopped} onDone=${queue.reload} /></${Section}>`}
      ${quarantined.length > 0 && html`<${Section} id="quarantined" icon="shield-alert" title="Quarantined" count=${quarantined.length} note="They cannot be finished and stay where they are."><ul class="groups"><${Several} items=${quarantined} draw=${(recording) => html`<${Quarantined} key=${recording.path} recording=${recording} onDone=${queue.reload} />`} /></ul></${Section}>`}
      <div class="two">
        <${Section} id="recording" icon="radio" title="Recording now" count=${live.data?.total ?? 0}>${recordingNow.length ? html`<${Live} ...${live.data} />` : html`<p class="fade pad">No recording is being written, and none waits to be taken.</p>`}</${Section}>
        <${Section} id="work" icon="activity" title="Under way" count=${underWay.length}>${underWay.length ? html`<ul class="works">${underWay.map((work) => html`<${Work} key=${work.label} work=${work} />`)}</ul>` : html`<p class="fade pad">Nothing is being finished or uploaded.</p>`}</${Section}>
        <${Section} id="waiting" icon="clock" title="Waiting" count=${waiting.length}>${waiting.length ? html`<${Waiting} deliveries=${waiting} />` : html`<p class="fade pad">No delivery waits.</p>`}</${Section}>
        <${Section} id="targets" icon="cloud" title="Targets" count=${targets.length}>${targets.length ? html`<${Targets} targets=${targets} deliveries=${deliveries} notFreed=${notFreed} />` : html`<p class="fade pad">No target is configured: recordings stay on this disk.</p>`}</${Section}>
      </div>
      ${leftOut.length > 0 && html`<p class="fade">${counted(leftOut.length, 'recording')} left out on the first start (<code>watch.existing</code>); <code>aftercast process PATH</code> takes them.</p>`}
      ${unreadable.length > 0 && html`<${Fault} error=${{ message: `${counted(unreadable.length, 'entry', 'entries')} of the queue cannot be read: ${unreadable[0]}`, nextStep: 'Run `aftercast catalog check`.' }} />`}
    </div>`;
};
