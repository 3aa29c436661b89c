// Asking the daemon: operations under api/v1, its event stream, and the session of this tab.

import { useEffect, useRef, useState } from './vendor/hooks.mjs';

const TOKEN = 'aftercast.session';
// Of an event stream that is silent for longer nothing is to be expected; the daemon says something every 15 s.
const SILENCE_MS = 40_000;

/** The address of a request; relative, so that it is right below any prefix. */
export const at = (path, query) => {
  const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return `api/v1/${path}${pairs.length ? `?${new URLSearchParams(pairs)}` : ''}`;
};

export const vodPath = (id, end = '') => `vods/${encodeURIComponent(id)}${end}`;

/** An answer that says what is wrong. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? `The server answered with status ${status}.`);
    this.status = status;
    this.nextStep = body.nextStep;
    this.causes = body.causes ?? [];
    this.kind = body.kind;
  }
}

const unreachable = () => new Problem(0, {
  detail: 'The daemon cannot be reached.',
  nextStep: 'Check that `aftercast watch` runs and that the network works. Recordings are not affected.',
});

// ------------------------------------------------------------------ session

const observers = new Set();
/** What this tab may do: `role` is `read`, `operate` or `null`; it is unknown until the first answer. */
export const session = { role: undefined, hasTokens: true, wants: null, epoch: 0, nodes: [], fleet: null };

function changed(change) {
  Object.assign(session, change);
  observers.forEach((observer) => observer());
}

export function useSession() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const observer = () => redraw((count) => count + 1);
    observers.add(observer);
    return () => observers.delete(observer);
  }, []);
  return session;
}

const token = () => sessionStorage.getItem(TOKEN);

/** Whether this tab holds a session of its own. */
export const isLoggedIn = () => token() !== null;

/** Asks for a token, for a reason that is shown. */
export const wantLogin = (why) => changed({ wants: why });
export const closeLogin = () => changed({ wants: null });

export async function logIn(by) {
  const headers = { 'content-type': 'application/json' };
  if (by.token) headers.authorization = `Bearer ${by.token}`;
  const body = JSON.stringify(by.code ? { code: by.code } : {});
  const answer = await fetch(at('session'), { method: 'POST', headers, body }).catch(() => { throw unreachable(); });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, said);
  sessionStorage.setItem(TOKEN, said.token);
  changed({ role: said.role, wants: null, epoch: session.epoch + 1 });
  events.restart();
}

export async function logOut() {
  await request('DELETE', 'session').catch(() => {});
  sessionStorage.removeItem(TOKEN);
  changed({ role: null, epoch: session.epoch + 1 });
  await learnRole().catch(() => {});
  events.restart();
}

/** Learns what this tab may do. */
export async function learnRole() {
  const said = await get('session');
  changed({ role: said.role, hasTokens: said.hasTokens });
}

/** Learns of other nodes, if there is a fleet. Without its database the page shows what this node has, and since when. */
export async function learnNodes(said) {
  const answer = said?.isConnected ? await get('nodes').catch((error) => ({ items: [], problem: error.message })) : { items: [] };
  const { fleet } = session;
  const isAway = said && !answer.items.length;
  // Since when it is away is known only if it was there before.
  const sinceMs = fleet?.isAway ? fleet.sinceMs : fleet && Date.now();
  if (said || fleet) changed({ nodes: answer.items, fleet: said && { ...said, ...answer, isAway, sinceMs } });
}

// ----------------------------------------------------------------- requests

async function answered(method, path, { query, body, file, signal } = {}) {
  const headers = {};
  if (token()) headers.authorization = `Bearer ${token()}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const sent = { method, headers, signal, body: file ?? (body === undefined ? undefined : JSON.stringify(body)) };
  const answer = await fetch(at(path, query), sent).catch((error) => {
    throw error.name === 'AbortError' ? error : unreachable();
  });
  // 202: another node has it and has not answered yet.
  if (answer.ok && answer.status !== 202) return answer;
  const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
  if (answer.status === 401) {
    if (token()) {
      // Where reading needs no token, the page goes on without one.
      sessionStorage.removeItem(TOKEN);
      wantLogin('Your session has ended.');
      changed({ epoch: session.epoch + 1 });
      learnRole().then(() => events.restart(), () => {});
    } else {
      wantLogin(method === 'GET' ? 'This server asks for a token.' : 'This needs the operate token.');
    }
  } else if (answer.status === 403) {
    wantLogin('This needs the operate token.');
  }
  throw problem;
}

export async function request(method, path, options) {
  return (await answered(method, path, options)).json();
}

export const get = (path, query, signal) => request('GET', path, { query, signal });
export const post = (path, body) => request('POST', path, { body: body ?? {} });
/** Sends a file as it is. */
export const upload = (path, file) => request('POST', path, { file });
export const patch = (path, body) => request('PATCH', path, { body });
export const remove = (path, query) => request('DELETE', path, { query });

/** The whole queue, page by page. */
export async function wholeQueue() {
  const whole = { deliveries: [], recordings: [], notFreed: [], unreadable: [] };
  let after;
  do {
    const page = await get('queue', { limit: 1000, after });
    for (const list of Object.keys(whole)) whole[list].push(...page[list]);
    after = page.next;
  } while (after);
  return whole;
}

/** Asks for an operation that tells items on the way; gives what it answers at the end. */
export async function lines(path, body, each) {
  const answer = await answered('POST', path, { body });
  let end;
  for await (const line of linesOf(answer.body)) {
    if (!line) continue;
    const said = JSON.parse(line);
    if ('item' in said) each(said.item);
    else if ('error' in said) throw new Problem(200, said.error);
    else end = said.data;
  }
  if (end === undefined) throw unreachable();
  return end;
}

/** What is wrong with the address of media, in the server's words: a browser shows the error of a video or a download to nobody. */
export async function faultOf(address) {
  const headers = { range: 'bytes=0-0' };
  if (token()) headers.authorization = `Bearer ${token()}`;
  const answer = await fetch(address, { headers }).catch(() => { throw unreachable(); });
  const said = answer.ok ? null : await answer.json().catch(() => ({}));
  await answer.body?.cancel().catch(() => {});
  return said && [said.detail, said.nextStep].filter(Boolean).join(' ');
}

async function* linesOf(stream, heard) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    heard?.();
    const parts = (rest + value).split('\n');
    rest = parts.pop();
    yield* parts;
  }
  if (rest) yield rest;
}

// ------------------------------------------------------------------- events

/** The event stream: one for the page, reconnecting by itself where it was. */
class Events {
  #listeners = new Set();
  #observers = new Set();
  #last = null;
  #run = 0;
  #pause = 500;
  #abort = null;
  state = 'connecting';
  since = Date.now();

  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  observe(observer) {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  }

  restart() {
    this.#run += 1;
    this.#abort?.abort();
    this.#pause = 500;
    this.#follow(this.#run);
  }

  #say(state) {
    if (state === this.state) return;
    // The time of the first failure stays while connecting fails again.
    if (!(this.state === 'offline' && state === 'connecting')) this.since = Date.now();
    this.state = state;
    this.#observers.forEach((observer) => observer());
  }

  async #follow(run) {
    while (run === this.#run) {
      try {
        await this.#once(run);
      } catch (error) {
        if (error.status === 401 || error.status === 403) return;
      }
      if (run !== this.#run) return;
      this.#say('offline');
      await new Promise((done) => setTimeout(done, this.#pause));
      this.#pause = Math.min(this.#pause * 2, 10_000);
    }
  }

  async #once(run) {
    const abort = new AbortController();
    this.#abort = abort;
    const headers = {};
    if (token()) headers.authorization = `Bearer ${token()}`;
    if (this.#last !== null) headers['last-event-id'] = this.#last;
    const answer = await fetch(at('events'), { headers, signal: abort.signal, cache: 'no-store' });
    if (!answer.ok) throw new Problem(answer.status, {});
    const wasAway = this.state === 'offline';
    this.#pause = 500;
    this.#say('online');
    if (wasAway) this.#tell({ type: 'page.reconnected' });
    let silence = setTimeout(() => abort.abort(), SILENCE_MS);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      let data = '';
      let id = null;
      for await (const line of linesOf(answer.body, heard)) {
        if (run !== this.#run) return;
        if (line.startsWith('data:')) data += line.slice(5).trim();
        else if (line.startsWith('id:')) id = line.slice(3).trim();
        else if (line === '') {
          if (id !== null) this.#last = id;
          if (data) this.#tell(JSON.parse(data));
          data = '';
          id = null;
        }
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #tell(event) {
    this.#listeners.forEach((listener) => listener(event));
  }
}

export const events = new Events();

export function useConnection() {
  const [, redraw] = useState(0);
  useEffect(() => events.observe(() => redraw((count) => count + 1)), []);
  return events;
}

/** Calls back for events whose type begins with one of these, together where many come at once. */
export function useEvents(types, call, waitMs = 300) {
  const latest = useRef(call);
  latest.current = call;
  useEffect(() => {
    let timer = null;
    let held = [];
    const stop = events.listen((event) => {
      const isWanted = types.some((type) => event.type?.startsWith(type)) || event.type === 'page.reconnected' || 'lost' in event;
      if (!isWanted) return;
      held.push(event);
      timer ??= setTimeout(() => {
        const all = held;
        held = [];
        timer = null;
        latest.current(all);
      }, waitMs);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [types.join()]);
}

/** What a request answers: `data`, `error`, and `reload`. Data stays while it is asked for again. */
export function useAnswer(ask, dependencies) {
  const [state, set] = useState({});
  const turn = useRef(0);
  const reload = async () => {
    const mine = ++turn.current;
    try {
      const data = await ask();
      if (mine === turn.current) set({ data });
    } catch (error) {
      if (mine === turn.current && error.name !== 'AbortError') set((before) => ({ data: before.data, error }));
    }
  };
  useEffect(() => {
    set({});
    reload();
    return () => { turn.current += 1; };
  }, [...dependencies, session.epoch]);
  // What could not be had, or changed unseen, is asked for when the connection is back.
  const latest = useRef(reload);
  latest.current = reload;
  useEffect(() => events.listen((event) => event.type === 'page.reconnected' && latest.current()), []);
  return { ...state, isLoading: !state.data && !state.error, reload };
}

/** Calls now and then while the page is looked at. */
export function useEvery(ms, call) {
  const latest = useRef(call);
  latest.current = call;
  useEffect(() => {
    const timer = setInterval(() => { if (!document.hidden) latest.current(); }, ms);
    return () => clearInterval(timer);
  }, [ms]);
}
