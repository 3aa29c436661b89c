// The shell: navigation, the connection, logging in, and which view is shown.

import { render } from './vendor/preact.mjs';
import { useEffect, useRef, useState } from './vendor/hooks.mjs';
import { events, get, isLoggedIn, learnNodes, learnRole, logIn, logOut, useAnswer, useConnection, useEvents, useEvery, useSession, wantLogin, wholeQueue } from './api.js';
import { Button, Closed, Fault, Icon, Loading, Notices, Time, Words, capital, html, later, say } from './parts.js';
import { counted, server } from './format.js';
import { Library, firstPage } from './library.js';

const LoginDialog = later(() => import('./dialogs.js'), 'LoginDialog');

const VIEWS = [
  ['', 'Library', 'film'],
  ['streams', 'Streams', 'layers'],
  ['pipeline', 'Pipeline', 'activity'],
  ['doctor', 'Doctor', 'stethoscope'],
  ['settings', 'Settings', 'sliders-horizontal'],
];
/** What the first view does not need is loaded when it is asked for, or some seconds later. */
const LATER = {
  vod: ['Vod', () => import('./vod.js')],
  streams: ['Streams', () => import('./streams.js')],
  pipeline: ['Pipeline', () => import('./pipeline.js')],
  doctor: ['Doctor', () => import('./doctor.js')],
  settings: ['Settings', () => import('./doctor.js')],
};
const FLEET_LOOK_MS = 10_000;
const THEMES = { light: ['dark', 'moon', 'Dark'], dark: ['light', 'sun', 'Light'] };

/** The address behind `#`: path and query. */
function route() {
  const [path, query = ''] = location.hash.slice(1).split('?');
  return { parts: path.split('/').filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

function go(to, isSame) {
  if (isSame) {
    history.replaceState(null, '', `#${to}`);
    dispatchEvent(new HashChangeEvent('hashchange'));
  } else location.hash = to;
}

const dark = matchMedia('(prefers-color-scheme: dark)');

function useTheme() {
  const [theme, set] = useState(() => localStorage.getItem('aftercast.theme') ?? (dark.matches ? 'dark' : 'light'));
  useEffect(() => { document.documentElement.dataset.theme = theme; }, [theme]);
  return [theme, (next) => { localStorage.setItem('aftercast.theme', next); set(next); }];
}

/** A code of `aftercast open` is used at once and never stays in the address. */
async function useLoginCode() {
  const code = /^#login=([0-9a-f]+)$/.exec(location.hash)?.[1];
  if (!code) return;
  history.replaceState(null, '', '#/');
  try {
    await logIn({ code });
    say('Logged in.');
  } catch (error) {
    say([error.message, error.nextStep].filter(Boolean).join(' '), 'bad');
  }
}

const Connection = () => {
  const connection = useConnection();
  if (connection.state !== 'offline') return null;
  return html`<div class="offline" role="status"><${Icon} name="cloud-off" /><span>No connection since <${Time} ms=${connection.since} short />. What you see may be out of date. Reconnecting …</span></div>`;
};

/** Without the database of the fleet, a list of this node's recordings must not look like the list of all. */
const Fleet = ({ fleet }) => html`<div class="offline" role="status"><${Icon} name="database" /><div><b>No connection to the fleet database${fleet.sinceMs && html` since <${Time} ms=${fleet.sinceMs} short />`}: only recordings of this node (${fleet.name}) are listed.</b>
  <p>They are processed as usual. ${fleet.waitingVods ? `${counted(fleet.waitingVods, 'changed recording')} of this node will be sent to the database later.` : 'Changes are sent to the database later.'} ${fleet.problem && html`<${Words} text=${`${capital(fleet.problem)}.`} />`}</p></div></div>`;

/** How much of the pipeline wants to be looked at. */
function useTrouble() {
  const [count, set] = useState(0);
  const look = () => wholeQueue().then(({ deliveries, recordings }) => {
    const stuck = deliveries.filter(({ delivery }) => delivery.state.state === 'stuck' || delivery.state.lastFault).length;
    set(stuck + recordings.filter((recording) => recording.state !== 'left out').length);
  }, () => {});
  const { role } = useSession();
  useEffect(() => { if (role) look(); }, [role]);
  useEvents(['delivery.', 'recording.', 'target.'], look, 1000);
  return count;
}

const Help = ({ onClose }) => {
  const keys = [['/', 'search'], ['g l', 'library'], ['g s', 'streams'], ['g p', 'pipeline'], ['arrows', 'move between recordings'], ['space', 'select'], ['Shift + click', 'select a range'],
    ['J K L', 'rewind, pause, forward (again: faster)'], ['← →', '5 s back, on'], [', .', 'one frame back, on'], ['I O', 'in point, out point'], ['M', 'mute'], ['F', 'full screen'], ['?', 'this']];
  return html`<div class="help" role="dialog" aria-label="Keys"><header><b>Keys</b><${Button} icon="x" label="Close" onClick=${onClose} /></header><dl>${keys.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl></div>`;
};

const App = () => {
  const [, redraw] = useState(0);
  const [theme, setTheme] = useTheme();
  const [isHelping, setHelping] = useState(false);
  const session = useSession();
  const main = useRef(null);
  const { parts, query } = route();
  const [view = '', id] = parts;
  const status = useAnswer(async () => {
    await learnRole();
    const data = await get('status');
    await learnNodes(data.fleet);
    return data;
  }, []);
  // Whether a fleet's database is reached is no event.
  useEvery(FLEET_LOOK_MS, () => session.fleet && status.reload());
  const trouble = useTrouble();
  if (status.data) server.zone = status.data.timeZone;

  useEffect(() => {
    const moved = () => redraw((count) => count + 1);
    addEventListener('hashchange', moved);
    events.restart();
    return () => removeEventListener('hashchange', moved);
  }, []);
  useEffect(() => {
    const name = VIEWS.find(([path]) => path === view)?.[1] ?? 'Recording';
    document.title = `${name} · aftercast`;
    if (document.activeElement === document.body) main.current?.focus({ preventScroll: true });
  }, [view, id]);
  useEffect(() => {
    let prefix = false;
    const key = (event) => {
      if (event.target.closest('input, select, textarea, dialog') || event.ctrlKey || event.metaKey || event.altKey) return;
      const wasPrefix = prefix;
      prefix = event.key === 'g';
      if (event.key === '/') {
        event.preventDefault();
        if (view !== '') go('/');
        setTimeout(() => document.querySelector('[data-search]')?.focus(), 30);
      } else if (event.key === '?') setHelping((is) => !is);
      else if (event.key === 'Escape') setHelping(false);
      else if (wasPrefix && { l: 1, s: 1, p: 1, d: 1 }[event.key]) go({ l: '/', s: '/streams', p: '/pipeline', d: '/doctor' }[event.key]);
    };
    addEventListener('keydown', key);
    return () => removeEventListener('keydown', key);
  }, [view]);

  const isClosed = session.role === undefined && status.error;
  const shown = view === '' ? html`<${Library} query=${query} go=${go} />`
    : LATER[view] ? html`<${Later} view=${view} key=${view === 'vod' ? `vod/${id}` : view} id=${id} query=${query} go=${go} />`
      : html`<${Closed} title="Not found"><${Fault} error=${{ message: 'There is no such view.', nextStep: 'Choose one at the side.' }} /></${Closed}>`;
  const [other, themeIcon, themeName] = THEMES[theme];
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to content</a>
    <nav class="side" aria-label="Views">
      <a class="brand" href="#/"><span class="logo" aria-hidden="true"></span><span>aftercast</span></a>
      <div class="links">
        ${VIEWS.map(([path, name, icon]) => html`
          <a href=${`#/${path}`} aria-current=${(view === 'vod' ? '' : view) === path ? 'page' : undefined}><${Icon} name=${icon} /><span>${name}</span>${path === 'pipeline' && trouble > 0 && html`<span class="trouble" aria-label=${`${trouble} to look at`}>${trouble > 99 ? '99+' : trouble}</span>`}</a>`)}
      </div>
      <div class="side-end">
        <${State} status=${status.data} />
        <div class="side-buttons">
          <${Button} icon=${themeIcon} label=${`${themeName} theme`} onClick=${() => setTheme(other)} />
          <${Button} icon="circle-help" label="Keys" onClick=${() => setHelping(!isHelping)} />
          ${isLoggedIn() ? html`<${Button} icon="log-out" label="Log out" onClick=${logOut} />` : html`<${Button} icon="key-round" label="Log in" onClick=${() => wantLogin('Log in to change something.')} />`}
        </div>
      </div>
    </nav>
    <main id="main" ref=${main} tabIndex="0">
      <${Connection} />
      ${session.fleet?.isAway && (view === '' || view === 'pipeline') && html`<${Fleet} fleet=${session.fleet} />`}
      ${isClosed ? html`<${Closed} title="aftercast">${status.error.status === 401 ? html`<p>This server asks for a token.</p>` : html`<${Fault} error=${status.error} retry=${status.reload} />`}<${Button} kind="main" icon="key-round" onClick=${() => wantLogin('This server asks for a token.')}>Log in</${Button}></${Closed}>`
    : shown}
    </main>
    ${session.wants && html`<${LoginDialog} why=${session.wants} />`}
    ${isHelping && html`<${Help} onClose=${() => setHelping(false)} />`}
    <${Notices} />`;
};

const Later = ({ view, ...rest }) => {
  const [loaded, set] = useState({});
  useEffect(() => {
    const [name, load] = LATER[view];
    load().then((module) => set({ view, part: module[name] }), (error) => set({ view, error }));
  }, [view]);
  if (loaded.view !== view) return html`<${Loading} what="the view" />`;
  if (loaded.error) return html`<${Closed} title="Not loaded"><${Fault} error=${{ message: 'A part of the page could not be loaded.', nextStep: 'Reload the page.' }} /></${Closed}>`;
  return html`<${loaded.part} ...${rest} />`;
};

const State = ({ status }) => {
  const connection = useConnection();
  const words = connection.state === 'offline' ? 'Offline' : status && !status.isReady ? 'Not ready' : connection.state === 'online' ? 'Live' : 'Connecting';
  const kind = { Live: 'ok', Offline: 'bad', 'Not ready': 'warn' }[words] ?? '';
  return html`<p class="state" title=${status?.notReady?.join('\n') ?? ''}><span class=${`dot ${kind}`}></span>${words}${status && html`<span class="fade"> · ${status.version}</span>`}</p>`;
};

await useLoginCode();
await firstPage;
render(html`<${App} />`, document.getElementById('app'));
// The first view has the connection to itself.
setTimeout(() => Object.values(LATER).forEach(([, load]) => load().catch(() => {})), 3000);
