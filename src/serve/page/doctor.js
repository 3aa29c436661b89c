// Doctor: each check with what mends it. Settings: those in force, and where each came from.

import { useState } from './vendor/hooks.mjs';
import { get, post, session, useAnswer, useSession, wantLogin } from './api.js';
import { Badge, Button, Command, Empty, Fault, Icon, Loading, Section, Time, Words, html } from './parts.js';
import { counted } from './format.js';

/** A hint with the commands in it, each to be copied. */
const Hint = ({ text }) => {
  // What follows a command begins a line of its own.
  const parts = text.split('`').map((part, at, all) => (at > 1 && at % 2 === 0 && /\s/.test(all[at - 1]) ? part.replace(/^[.,;]\s*/, '') : part));
  return html`<p class="hint-text">${parts.map((part, at) => (at % 2 ? (/\s/.test(part) ? html`<${Command} text=${part} />` : html`<code>${part}</code>`) : part))}</p>`;
};

/** The last run; it is kept while the page is open, as each run writes to the stores. */
let last = null;

export const Doctor = () => {
  const [result, setResult] = useState(last);
  const [isRunning, setRunning] = useState(false);
  const [error, setError] = useState(null);
  useSession();
  const run = async () => {
    if (session.role !== 'operate') return wantLogin('The checks write and delete a probe object in each store: they need the operate token.');
    setRunning(true);
    setError(null);
    try {
      last = { atMs: Date.now(), checks: await post('doctor') };
      setResult(last);
    } catch (problem) {
      setError(problem);
    }
    return setRunning(false);
  };
  const checks = result?.checks ?? [];
  const failed = checks.filter((check) => !check.ok).length;
  const failing = new Set(checks.filter((check) => !check.ok).map((check) => check.subject));
  const subjects = [...new Set(checks.map((check) => check.subject))].sort((a, b) => failing.has(b) - failing.has(a));
  return html`
    <div class="doctor">
      <header class="bar-top"><h1>Doctor</h1><${Button} kind="main" icon="stethoscope" onClick=${run} disabled=${isRunning}>${isRunning ? 'Checking …' : result ? 'Check again' : 'Check'}</${Button}>
        ${result && html`<span class="total" role="status">${failed ? `${counted(failed, 'problem')} in ${counted(checks.length, 'check')}` : `${counted(checks.length, 'check')}, no problem`} · <${Time} ms=${result.atMs} short /></span>`}</header>
      ${error && html`<${Fault} error=${error} retry=${run} />`}
      ${isRunning && !result && html`<${Loading} what="the checks" />`}
      ${!result && !isRunning && !error && html`<${Empty} icon="stethoscope" title="Directories, permissions, disks and stores"><p>The checks write, read and delete a probe object in each store. <code>aftercast doctor</code> runs the same on the server.</p></${Empty}>`}
      ${subjects.map((subject, index) => {
    const own = checks.filter((check) => check.subject === subject);
    return html`<${Section} key=${subject} id=${`subject-${index}`} title=${subject} icon=${own.every((check) => check.ok) ? 'circle-check' : 'circle-alert'}>
        <ul class="checks-list">${own.map((check) => html`<li class=${check.ok ? 'ok' : 'bad'}><${Icon} name=${check.ok ? 'check' : 'x'} label=${check.ok ? 'passed' : 'failed'} /><span class="check-name">${check.check}</span><span class="grow"><${Words} text=${check.detail} />${check.hint && html`<${Hint} text=${check.hint} />`}</span></li>`)}</ul></${Section}>`;
  })}
    </div>`;
};

export const Settings = () => {
  const [text, setText] = useState('');
  const [isChanged, setChanged] = useState(false);
  const { data, error, isLoading, reload } = useAnswer(() => get('settings'), []);
  const wanted = (data?.values ?? []).filter((value) => (!isChanged || value.origin !== 'default') && `${value.key} ${value.value}`.toLowerCase().includes(text.toLowerCase()));
  const sections = [...new Set(wanted.map((value) => value.key.split('.')[0]))];
  return html`
    <div class="settings">
      <header class="bar-top"><h1>Settings in force</h1>
        <label class="search"><${Icon} name="search" /><input type="search" placeholder="Search settings" aria-label="Search settings" value=${text} onInput=${(event) => setText(event.target.value)} data-search /></label>
        <label class="inline"><input type="checkbox" checked=${isChanged} onChange=${(event) => setChanged(event.target.checked)} /> Only those that were set</label></header>
      ${error && html`<${Fault} error=${error} retry=${reload} />`}
      ${isLoading && html`<${Loading} what="the settings" />`}
      ${data && html`<p class="fade">${data.file ? html`From <code>${data.file}</code> and the environment. ` : 'No configuration file. '}Changes take effect with SIGHUP (<code>systemctl reload aftercast</code>). Secrets are never shown.</p>`}
      ${data && !wanted.length && html`<${Empty} icon="search" title="No setting has this" />`}
      ${sections.map((section) => html`<${Section} key=${section} id=${`section-${section}`} title=${section}>
        <div class="sideways" tabIndex="0" role="group" aria-label=${section}><table class="settings-table"><thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">From</th></tr></thead><tbody>
        ${wanted.filter((value) => value.key.split('.')[0] === section).map((value) => html`<tr><td><code>${value.key}</code></td><td><code>${value.value}</code></td><td>${value.origin === 'default' ? html`<span class="fade">default</span>` : html`<${Badge} kind="ok">${value.origin}</${Badge}>`}</td></tr>`)}</tbody></table></div></${Section}>`)}
    </div>`;
};
