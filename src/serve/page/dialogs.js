// Dialogs: logging in, deleting, verifying, sharing, describing.

import { useEffect, useState } from './vendor/hooks.mjs';
import { closeLogin, lines, logIn, patch, post, session, vodPath } from './api.js';
import { Badge, Button, Copy, Dialog, Fault, Icon, Loading, Several, Time, attempt, html, say } from './parts.js';
import { base, counted } from './format.js';

export const LoginDialog = ({ why }) => {
  const [text, setText] = useState('');
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await logIn({ token: text.trim() });
    } catch (problem) {
      setError(problem);
    }
  };
  const hasNone = session.hasTokens === false;
  return html`
    <${Dialog} title="Log in" onClose=${closeLogin} actions=${html`<${Button} onClick=${closeLogin}>Cancel</${Button}><${Button} kind="main" icon="key-round" onClick=${submit} disabled=${!text.trim()}>Log in</${Button}>`}>
      <p>${why}</p>
      ${hasNone && html`<p>No token is configured. Set <code>serve.operate_token_file</code>, or run <code>aftercast open</code> on the server: it logs this browser in once.</p>`}
      <form onSubmit=${submit}>
        <label class="field">Token<input type="password" autocomplete="current-password" value=${text} onInput=${(event) => setText(event.target.value)} autofocus /></label>
      </form>
      ${error && html`<${Fault} error=${error} />`}
      <p class="fade">The first line of the file that <code>serve.read_token_file</code> or <code>serve.operate_token_file</code> names. This tab keeps a session, not the token.</p>
    </${Dialog}>`;
};

const List = ({ items }) => html`<ul class="plain"><${Several} items=${items} step=${6} draw=${(item) => html`<li><code>${item}</code></li>`} /></ul>`;

/** Says first what goes from where, and asks for a typed word. */
export const DeleteDialog = ({ vods, onClose }) => {
  const [keep, setKeep] = useState({ keepFile: false, keepObjects: false });
  const [plan, setPlan] = useState(null);
  const [error, setError] = useState(null);
  const [typed, setTyped] = useState('');
  const [progress, setProgress] = useState(null);
  const word = `delete ${vods.length}`;
  const ids = vods.map((vod) => vod.vodId);
  useEffect(() => {
    let isOver = false;
    setPlan(null);
    setError(null);
    const found = { records: 0, files: [], objects: [], failed: [] };
    lines('vods/delete', { ids, dryRun: true, ...keep }, ({ deletion, failed }) => {
      if (failed) found.failed.push(failed);
      if (!deletion) return;
      found.records += 1;
      if (deletion.file) found.files.push(deletion.file.path);
      found.objects.push(...deletion.objects);
    }).then(() => !isOver && setPlan(found), (problem) => !isOver && setError(problem));
    return () => { isOver = true; };
  }, [keep.keepFile, keep.keepObjects]);
  const submit = async (event) => {
    event.preventDefault();
    if (typed !== word) return;
    let done = 0;
    const left = [];
    setProgress(0);
    try {
      const said = await lines('vods/delete', { ids, ...keep }, ({ deletion, failed }) => {
        if (deletion) {
          setProgress(done += 1);
          [deletion.file, ...deletion.objects].filter((part) => part?.left).forEach((part) => left.push(`${part.path ?? part.url}: ${part.left}`));
        }
        if (failed) left.push(failed.error.detail);
      });
      say(`${counted(said.deleted, 'recording')} deleted.${said.failed ? ` ${said.failed} failed: ${left[0]}` : left.length ? ` Left: ${left[0]}` : ''}`, said.failed ? 'bad' : 'ok');
      onClose(true);
    } catch (problem) {
      setProgress(null);
      setError(problem);
    }
  };
  const held = plan?.objects.filter((object) => object.alsoOf) ?? [];
  const gone = plan?.objects.filter((object) => !object.alsoOf) ?? [];
  return html`
    <${Dialog} title=${`Delete ${counted(vods.length, 'recording')}`} onClose=${() => onClose(false)} actions=${html`
      <${Button} onClick=${() => onClose(false)}>Cancel</${Button}>
      <${Button} kind="danger main" icon="trash-2" disabled=${typed !== word || !plan || progress !== null} onClick=${submit}>${progress === null ? 'Delete' : `Deleting ${progress} of ${vods.length} …`}</${Button}>`}>
      ${error && html`<${Fault} error=${error} />`}
      ${!plan && !error && html`<${Loading} what="what would be deleted" />`}
      ${plan && html`
        <p><b>${counted(plan.records, 'record')}</b> of the catalogue, and:</p>
        ${plan.files.length > 0 && html`<h3><${Icon} name="hard-drive" /> ${counted(plan.files.length, 'file')} on this disk</h3><${List} items=${plan.files} />`}
        ${gone.length > 0 && html`<h3><${Icon} name="cloud" /> ${counted(gone.length, 'object')} in stores</h3><${List} items=${gone.map((object) => object.url)} />`}
        ${held.length > 0 && html`<p class="fade">${counted(held.length, 'object')} stay: another recording uses them.</p>`}
        ${!plan.files.length && !gone.length && html`<p class="fade">No file and no object.</p>`}
        ${plan.failed.length > 0 && html`<p>Cannot be deleted: ${plan.failed[0].error.detail}</p>`}`}
      <div class="checks">
        <label><input type="checkbox" checked=${keep.keepFile} onChange=${(event) => setKeep({ ...keep, keepFile: event.target.checked })} /> Keep files on this disk</label>
        <label><input type="checkbox" checked=${keep.keepObjects} onChange=${(event) => setKeep({ ...keep, keepObjects: event.target.checked })} /> Keep objects in stores</label>
      </div>
      <form onSubmit=${submit}><label class="field"><span>Type <code>${word}</code> to confirm</span><input value=${typed} autocomplete="off" onInput=${(event) => setTyped(event.target.value)} /></label></form>
    </${Dialog}>`;
};

/** Compares the copies in the stores with what was delivered. */
export const VerifyDialog = ({ vods, onClose }) => {
  const [download, setDownload] = useState(false);
  const [items, setItems] = useState([]);
  const [end, setEnd] = useState(null);
  const [error, setError] = useState(null);
  const [isRunning, setRunning] = useState(false);
  const run = async () => {
    const found = [];
    setRunning(true);
    setError(null);
    setEnd(null);
    try {
      setEnd(await lines('verify', { ids: vods.map((vod) => vod.vodId), download }, (item) => setItems([...found, found[found.push(item) - 1]])));
      setItems(found);
    } catch (problem) {
      setError(problem);
    }
    setRunning(false);
  };
  const copies = vods.reduce((sum, vod) => sum + (vod.remote?.length ?? 0), 0);
  return html`
    <${Dialog} title=${`Verify ${counted(vods.length, 'recording')}`} wide=${true} onClose=${onClose} actions=${html`<${Button} onClick=${onClose}>Close</${Button}><${Button} kind="main" icon="shield-check" disabled=${isRunning || !copies} onClick=${run}>${isRunning ? 'Asking the stores …' : 'Verify'}</${Button}>`}>
      <p>${copies ? `Asks the stores for ${counted(copies, 'copy', 'copies')} and compares size and checksum. What differs is uploaded again if the file is on this disk.` : 'No store holds a copy of these.'}</p>
      <div class="checks"><label><input type="checkbox" checked=${download} onChange=${(event) => setDownload(event.target.checked)} /> Read the objects and compare every byte</label></div>
      ${error && html`<${Fault} error=${error} />`}
      ${end && html`<p role="status"><b>${counted(end.same, 'copy', 'copies')} as proven${end.different ? `, ${counted(end.different, 'copy differs', 'copies differ')}` : ''}.</b></p>`}
      <ul class="plain results"><${Several} items=${[...items].sort((a, b) => a.same - b.same)} step=${200} draw=${(item) => html`<li><${Badge} kind=${item.same ? 'ok' : 'bad'} icon=${item.same ? 'check' : 'x'}>${item.same ? 'same' : 'differs'}</${Badge}> <code>${item.url}</code>${!item.same && html` <span>${item.message}</span>`}</li>`} /></ul>
    </${Dialog}>`;
};

const LIVES = [[3600, '1 hour'], [86_400, '1 day'], [604_800, '1 week'], [2_592_000, '30 days']];

export const ShareDialog = ({ vod, onClose }) => {
  const [lives, setLives] = useState(86_400);
  const [link, setLink] = useState(null);
  const make = () => attempt(async () => setLink(await post(vodPath(vod.vodId, '/share'), { expiresInS: lives })));
  const url = link && new URL(link.path, document.baseURI).href;
  return html`
    <${Dialog} title="Share" onClose=${onClose} actions=${html`<${Button} onClick=${onClose}>Close</${Button}><${Button} kind="main" icon="share-2" onClick=${make}>Make a link</${Button}>`}>
      <p>Whoever has the link can play and download <b>${vod.vodName}</b> without a token until it expires.</p>
      <label class="field">Valid for<select value=${lives} onChange=${(event) => { setLives(Number(event.target.value)); setLink(null); }}>${LIVES.map(([seconds, name]) => html`<option value=${seconds}>${name}</option>`)}</select></label>
      ${url && html`<div class="command"><code>${url}</code><${Copy} text=${url} label="Copy link" /></div><p class="fade">Valid until <${Time} ms=${link.expiresMs} />.</p>`}
    </${Dialog}>`;
};

export const EditDialog = ({ vod, onClose }) => {
  const [description, setDescription] = useState(vod.description ?? '');
  const [pairs, setPairs] = useState(Object.entries(vod.metadata ?? {}));
  const change = (at, part, value) => setPairs(pairs.map((pair, index) => (index === at ? (part ? [pair[0], value] : [value, pair[1]]) : pair)));
  const save = () => attempt(async () => {
    const metadata = Object.fromEntries(Object.keys(vod.metadata ?? {}).map((name) => [name, null]));
    pairs.filter(([name]) => name.trim()).forEach(([name, value]) => { metadata[name.trim()] = value; });
    onClose(await patch(vodPath(vod.vodId), { description, metadata }));
    say('Saved.');
  });
  return html`
    <${Dialog} title="Description" onClose=${() => onClose(null)} actions=${html`<${Button} onClick=${() => onClose(null)}>Cancel</${Button}><${Button} kind="main" icon="save" onClick=${save}>Save</${Button}>`}>
      <label class="field">Description<textarea rows="4" value=${description} onInput=${(event) => setDescription(event.target.value)}></textarea></label>
      <h3>Metadata of ${base(vod.vodName)}</h3>
      ${pairs.map(([name, value], index) => html`<div class="pair">
        <input aria-label="Name" placeholder="name" value=${name} onInput=${(event) => change(index, 0, event.target.value)} />
        <input aria-label="Value" placeholder="value" value=${value} onInput=${(event) => change(index, 1, event.target.value)} />
        <${Button} icon="x" label="Remove" onClick=${() => setPairs(pairs.filter((_, other) => other !== index))} /></div>`)}
      <${Button} kind="small" onClick=${() => setPairs([...pairs, ['', '']])}>Add a value</${Button}>
    </${Dialog}>`;
};
