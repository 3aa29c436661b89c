// One recording: watched, understood, cut, shared.

import { useState } from './vendor/hooks.mjs';
import { at, faultOf, get, session, useAnswer, useEvents, vodPath, wantLogin } from './api.js';
import { Badge, Button, Closed, Copy, Facts, Fault, Icon, LinkButton, Loading, Section, Time, Words, attempt, copyText, html, say } from './parts.js';
import { clock, codec, container, counted, rate, size, span } from './format.js';
import { Badges, downloadVod, isElsewhere, videoOf } from './library.js';
import { posterOf, spriteOf } from './pictures.js';
import { explain, marksOf, placeOf } from './defects.js';
import { Journey, Salvage } from './journey.js';
import { Player } from './player.js';
import { DeleteDialog, EditDialog, ShareDialog, VerifyDialog } from './dialogs.js';

const CLIPPABLE = new Set(['mp4', 'mov']);

const clipAt = (vod, points) => at(`streams/${encodeURIComponent(vod.streamId)}/clip`, {
  start: vod.startTime + points.in, end: vod.startTime + points.out, rendition: vod.rendition, download: 1,
});

/** Why no clip can be made of it, if none can. */
function notClippable(vod) {
  if (isElsewhere(vod)) return `The node ${vod.node.name} has it; clips are made there.`;
  if (vod.freedAt) return 'Its file is not on this disk any more; clips are made of local files.';
  if (!CLIPPABLE.has(vod.container)) return `Clips are made of MP4 and MOV; this is ${container(vod.container)}.`;
  return null;
}

const Cut = ({ vod, points, setPoints, now }) => {
  const reason = notClippable(vod);
  const isWhole = points.in !== undefined && points.out !== undefined && points.out > points.in;
  const copyLink = () => attempt(async () => {
    await copyText(new URL(`#/vod/${vod.vodId}?t=${Math.round(now) / 1000}`, document.baseURI).href);
    say(`Link to ${clock(now)} copied.`);
  });
  const download = () => attempt(async () => {
    const words = await faultOf(clipAt(vod, points));
    if (words) return say(words, 'bad');
    const link = document.createElement('a');
    link.href = clipAt(vod, points);
    link.click();
    return undefined;
  });
  return html`
    <div class="cut-bar">
      <span class="cut-text"><${Icon} name="scissors" />
        ${reason ?? (points.in === undefined && points.out === undefined ? html`<span>Set an in and an out point (<kbd>I</kbd>, <kbd>O</kbd>) to download a clip.</span>`
    : html`<span>In <b>${points.in === undefined ? '–' : clock(points.in, true)}</b></span> <span>Out <b>${points.out === undefined ? '–' : clock(points.out, true)}</b></span>${isWhole ? html`<span class="fade">${span(points.out - points.in)}</span>` : points.out <= points.in && html`<span class="fade">The out point must be behind the in point.</span>`}`)}
      </span>
      ${(points.in !== undefined || points.out !== undefined) && html`<${Button} kind="small" onClick=${() => setPoints({})}>Clear</${Button}>`}
      <${Button} kind="small" icon="link" onClick=${copyLink}>Copy link at time</${Button}>
      <${Button} kind="small main" icon="download" disabled=${Boolean(reason) || !isWhole} onClick=${download}>Download clip</${Button}>
    </div>`;
};

const Tracks = ({ vod }) => html`
  <div class="sideways" tabIndex="0" role="group" aria-label="Tracks"><table><thead><tr><th scope="col">#</th><th scope="col">Kind</th><th scope="col">Codec</th><th scope="col">Format</th><th scope="col" class="number">Packets</th><th scope="col" class="number">Size</th><th scope="col" class="number">Duration</th></tr></thead>
    <tbody>${vod.tracks.map((track, index) => html`<tr><td>${index + 1}</td><td>${track.kind}${track.language && ` (${track.language})`}</td><td>${codec(track.codec)}</td>
      <td>${track.width ? `${track.width} × ${track.height}${track.frameRate ? `, ${track.frameRate.toFixed(2)} fps` : ''}${track.keyframeIntervalMs ? `, keyframe every ${span(track.keyframeIntervalMs)}` : ''}` : track.sampleRateHz ? `${(track.sampleRateHz / 1000).toFixed(1)} kHz, ${counted(track.channels ?? 1, 'channel')}` : ''}</td>
      <td class="number">${track.packets.toLocaleString()}</td><td class="number">${size(track.bytes)}</td><td class="number">${clock(track.durationMs)}</td></tr>`)}</tbody></table></div>`;

export const Defects = ({ defects, onSeek, vod }) => html`
  <ul class="defects">${defects.map((defect) => {
    const { title, meaning, todo, level } = explain(defect, vod?.salvaged);
    const place = vod && placeOf(defect, vod);
    return html`<li class=${level}><${Icon} name=${level === 'calm' ? 'info' : 'triangle-alert'} /><div>
      <p class="defect-title">${title}${place && html` <${Button} kind="small" icon="play" onClick=${() => onSeek(place.atMs)}>${place.isAbout && 'about '}${clock(place.atMs)}</${Button}>`}</p>
      <p><${Words} text=${meaning} /></p>${todo && html`<p class="todo"><${Words} text=${todo} /></p>`}</div></li>`;
  })}</ul>`;

export const Vod = ({ id, query, go }) => {
  const { data: vod, error, isLoading, reload } = useAnswer(() => get(vodPath(id)), [id]);
  const [points, setPoints] = useState({});
  const [dialog, setDialog] = useState(null);
  useEvents(['vod.', 'delivery.completed', 'local.freed'], (all) => {
    const isMine = (event) => event.type === 'page.reconnected' || (event.vod ?? event.delivery)?.vodId === id;
    if (all.some((event) => event.type === 'vod.deleted' && event.vod.vodId === id)) go('/');
    else if (all.some(isMine)) reload();
  });
  if (isLoading) return html`<${Loading} what="the recording" />`;
  if (!vod) return html`<${Closed} title="Recording"><${Fault} error=${error} retry=${reload} /><${LinkButton} href="#/" icon="chevron-left">Library</${LinkButton}></${Closed}>`;

  const mayOperate = (what) => () => (session.role === 'operate' ? setDialog(what) : wantLogin('This needs the operate token.'));
  const video = videoOf(vod);
  const startAtMs = Number(query.get('t') ?? 0) * 1000;
  const onSeek = (atMs) => {
    const element = document.querySelector('[data-player]');
    element.currentTime = atMs / 1000;
    element.scrollIntoView({ block: 'center' });
  };
  return html`
    <article class="vod">
      <header class="vod-head">
        <${LinkButton} href="#/" icon="chevron-left" label="Library" />
        <div><h1>${vod.streamName}</h1>
          <p class="fade"><${Time} ms=${vod.startTime} /> · ${span(vod.duration)} · ${size(vod.fileSize)}</p></div>
        <div class="badges"><${Badges} vod=${vod} all=${true} /></div>
        <div class="actions">
          <${Button} icon="download" onClick=${() => downloadVod(vod)}>Download</${Button}>
          ${!isElsewhere(vod) && html`<${Button} icon="share-2" onClick=${mayOperate('share')}>Share</${Button}>
          <${Button} icon="pencil" onClick=${mayOperate('edit')}>Describe</${Button}>`}
          <${Button} icon="shield-check" onClick=${mayOperate('verify')}>Verify</${Button}>
          <${Button} icon="trash-2" kind="danger" label="Delete" onClick=${mayOperate('delete')} />
        </div>
      </header>
      ${vod.description && html`<p class="description">${vod.description}</p>`}
      <div class="vod-body">
        <div class="vod-main">
          <${Player} src=${at(vodPath(id, '/media'))} poster=${isElsewhere(vod) ? null : posterOf(vod)} durationMs=${vod.duration} frameRate=${video?.frameRate} marks=${marksOf(vod)} sprite=${isElsewhere(vod) ? null : spriteOf(vod)} startAtMs=${startAtMs}
            points=${points} setPoints=${setPoints} isAudio=${!video} name=${vod.vodName}
            onFailure=${() => faultOf(at(vodPath(id, '/media')))}
            actions=${(now) => html`<${Cut} vod=${vod} points=${points} setPoints=${setPoints} now=${now} />`} />
          ${vod.defects.length > 0 && html`<${Section} id="defects" icon="triangle-alert" title="Defects" count=${vod.defects.length}><${Defects} defects=${vod.defects} onSeek=${onSeek} vod=${vod} /></${Section}>`}
          ${vod.salvage && html`<${Section} id="salvage" icon="wrench" title="Salvage report"><${Salvage} vod=${vod} onSeek=${onSeek} /></${Section}>`}
          <${Section} id="tracks" icon="layers" title="Tracks"><${Tracks} vod=${vod} /></${Section}>
          <${Section} id="raw" icon="database" title="Record"><details><summary>Raw record</summary><div class="raw"><${Copy} text=${JSON.stringify(vod, null, 2)} /><pre tabIndex="0">${JSON.stringify(vod, null, 2)}</pre></div></details></${Section}>
        </div>
        <aside class="vod-side" aria-label="Facts and journey">
          <${Section} id="facts" icon="info" title="Facts">
            <${Facts} rows=${[
    ['File', html`<code>${vod.vodName}</code>`], ['Stream', html`<a href=${`#/streams/${encodeURIComponent(vod.streamId)}?at=${vod.startTime}`}>${vod.streamId}</a>`], ['Rendition', vod.rendition],
    ['Node', vod.node && `${vod.node.name}${vod.node.isAlive ? '' : ', not reachable'}`], ['Container', `${container(vod.container)}`], ['Picture', video && `${video.width} × ${video.height}, ${codec(video.codec)}`], ['Bitrate', rate(vod.bitrate)],
    ['VoD id', html`<code>${vod.vodId}</code> <${Copy} text=${vod.vodId} label="Copy id" />`],
    ...Object.entries(vod.metadata ?? {}),
  ]} />
          </${Section}>
          <${Section} id="journey" icon="activity" title="Journey"><${Journey} vod=${vod} /></${Section}>
        </aside>
      </div>
      ${dialog === 'delete' && html`<${DeleteDialog} vods=${[vod]} onClose=${(isDone) => { setDialog(null); if (isDone) go('/'); }} />`}
      ${dialog === 'verify' && html`<${VerifyDialog} vods=${[vod]} onClose=${() => setDialog(null)} />`}
      ${dialog === 'share' && html`<${ShareDialog} vod=${vod} onClose=${() => setDialog(null)} />`}
      ${dialog === 'edit' && html`<${EditDialog} vod=${vod} onClose=${(changed) => { setDialog(null); if (changed) reload(); }} />`}
    </article>`;
};
