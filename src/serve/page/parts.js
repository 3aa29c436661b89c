// What views are made of.

import { h } from './vendor/preact.mjs';
import { useEffect, useRef, useState } from './vendor/hooks.mjs';
import htm from './vendor/htm.mjs';
import { bothTimes, dayAndTime, time } from './format.js';

export const html = htm.bind(h);

const ICONS = new URL('./vendor/icons.svg', import.meta.url).pathname;

export const Icon = ({ name, label }) => html`
  <svg class="icon" role=${label ? 'img' : undefined} aria-label=${label} aria-hidden=${label ? undefined : 'true'}>
    <use href=${`${ICONS}#${name}`}></use>
  </svg>`;

export const Button = ({ icon, children, kind = '', label, ...rest }) => html`
  <button type="button" class=${`button ${kind} ${children ? '' : 'bare'}`} aria-label=${label} title=${label} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${children && html`<span>${children}</span>`}
  </button>`;

export const LinkButton = ({ icon, children, kind = '', label, ...rest }) => html`
  <a class=${`button ${kind} ${children ? '' : 'bare'}`} aria-label=${label} title=${label} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${children && html`<span>${children}</span>`}
  </a>`;

/** A time in the viewer's zone, with the server's on hover. */
export const Time = ({ ms, short, children }) => html`
  <time dateTime=${new Date(ms).toISOString()} title=${bothTimes(ms)}>
    ${children ?? (short ? time(ms) : dayAndTime(ms))}
  </time>`;

export const Badge = ({ kind, icon, children, title }) => html`
  <span class=${`badge ${kind ?? ''}`} title=${title}>${icon && html`<${Icon} name=${icon} />`}${children}</span>`;

export const Bar = ({ done, total, label }) => html`
  <span class="bar" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${total ? Math.round((100 * done) / total) : undefined}>
    <span style=${{ width: `${total ? Math.min(100, (100 * done) / total) : 0}%` }}></span>
  </span>`;

export const Section = ({ title, icon, count, actions, children, id, note }) => html`
  <section class="card" aria-labelledby=${id}>
    <header class="card-head">
      <h2 id=${id}>${icon && html`<${Icon} name=${icon} />`}${title}${count !== undefined && html`<span class="count">${count.toLocaleString()}</span>`}</h2>
      ${note && html`<p class="note">${note}</p>`}
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>
    ${children}
  </section>`;

export const Empty = ({ icon = 'info', title, children }) => html`
  <div class="empty"><${Icon} name=${icon} /><p class="empty-title">${title}</p>${children && html`<div class="empty-text">${children}</div>`}</div>`;

export const Loading = ({ what }) => html`
  <div class="empty" role="status"><span class="spinner"></span><p class="empty-title">Loading ${what} …</p></div>`;

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** In place of a view that cannot be shown. */
export const Closed = ({ title, children }) => html`<div class="closed"><h1>${title}</h1>${children}</div>`;

/** What went wrong, what follows from it and what to do. */
export const Fault = ({ error, retry }) => html`
  <div class="fault" role="alert">
    <${Icon} name="circle-alert" />
    <div>
      <p class="fault-title"><${Words} text=${capital(error.message)} /></p>
      ${error.causes?.map((cause) => html`<p class="fault-cause">${cause}</p>`)}
      ${error.nextStep && html`<p><${Words} text=${error.nextStep} /></p>`}
    </div>
    ${retry && html`<${Button} icon="rotate-ccw" onClick=${retry}>Try again</${Button}>`}
  </div>`;

/** Text in which what stands between backquotes is code. */
export const Words = ({ text }) => String(text ?? '').split('`').map((part, at) => (at % 2 ? html`<code>${part}</code>` : part));

export const Copy = ({ text, label = 'Copy' }) => {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<${Button} kind="small" icon=${isDone ? 'check' : 'copy'} label=${isDone ? 'Copied' : label} onClick=${copy} />`;
};

/** The clipboard is closed to pages that are not served over HTTPS or loopback; a selection is not. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
  return undefined;
}

/** Items of a list, some at first and more when they are asked for. `beyond` are those that there are, but not here. */
export const Several = ({ items, draw, step = 50, beyond = 0 }) => {
  const [shown, show] = useState(step);
  const left = items.length - shown;
  return html`${items.slice(0, shown).map(draw)}${left + beyond > 0 && html`<li class="more"><span class="fade">and ${(Math.max(0, left) + beyond).toLocaleString()} more</span>${left > 0 && html` <${Button} kind="small" onClick=${() => show(shown + 10 * step)}>Show ${left > 10 * step ? 'more' : 'all'}</${Button}>`}</li>`}`;
};

export const Command = ({ text }) => html`<span class="command"><code>${text}</code><${Copy} text=${text} label="Copy command" /></span>`;

export const Facts = ({ rows }) => html`
  <dl class="facts">${rows.filter((row) => row && row[1] !== undefined && row[1] !== null && row[1] !== '').map(([name, value]) => html`
    <div><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;

export const Dialog = ({ title, onClose, children, actions, wide }) => {
  const own = useRef(null);
  useEffect(() => {
    const dialog = own.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const onCancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`
    <dialog ref=${own} class=${wide ? 'wide' : ''} aria-labelledby="dialog-title" onCancel=${onCancel}>
      <header><h2 id="dialog-title">${title}</h2><${Button} icon="x" label="Close" onClick=${onClose} /></header>
      <div class="dialog-body">${children}</div>
      <footer>${actions}</footer>
    </dialog>`;
};

/** A part whose module is loaded when it is shown for the first time. */
export const later = (load, name) => (props) => {
  const [Part, setPart] = useState(null);
  useEffect(() => {
    load().then((module) => setPart(() => module[name]), () => say('A part of the page could not be loaded. Reload the page.', 'bad'));
  }, []);
  return Part && html`<${Part} ...${props} />`;
};

// ------------------------------------------------------------------- notices

let notices = [];
let showNotices = () => {};
let numbers = 0;

/** Says what happened, for some seconds. */
export function say(text, kind = 'ok') {
  const number = ++numbers;
  notices = [...notices.slice(-3), { number, text, kind }];
  showNotices();
  setTimeout(() => {
    notices = notices.filter((notice) => notice.number !== number);
    showNotices();
  }, kind === 'bad' ? 10_000 : 5000);
}

export const Notices = () => {
  const [, redraw] = useState(0);
  showNotices = () => redraw((count) => count + 1);
  return html`<div class="notices" role="status" aria-live="polite">
    ${notices.map(({ number, text, kind }) => html`<div key=${number} class=${`notice ${kind}`}><${Icon} name=${kind === 'bad' ? 'circle-alert' : 'circle-check'} /><${Words} text=${text} /></div>`)}
  </div>`;
};

/** Runs something that may fail, and says so if it does. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) say([error.message, error.nextStep].filter(Boolean).join(' '), 'bad');
    return undefined;
  }
}

/** The text of a field, told when nothing was typed for a while. */
export function useLate(value, ms, tell) {
  const latest = useRef(tell);
  latest.current = tell;
  useEffect(() => {
    const timer = setTimeout(() => latest.current(value), ms);
    return () => clearTimeout(timer);
  }, [value]);
}
