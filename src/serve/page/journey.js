// What happened to a recording, step by step, and what was lost where.

import { Badge, Button, Icon, Time, Words, capital, html } from './parts.js';
import { clock, counted, size, span } from './format.js';
import { gapsOf } from './defects.js';

const EVIDENCE = {
  close_seen: 'The writer closed the file.',
  rename_seen: 'The writer renamed the file.',
  lease: 'The kernel confirmed that no process has it open for writing.',
  proc_scan: 'No process had it open for writing.',
  unchanged: 'It did not change any more; a writer could not be ruled out otherwise.',
};
const STARTS = { name: 'from the file name', container: 'from the container', mtime: 'from the time of the last write' };
const OUTCOMES = {
  kept: ['Kept', 'It was complete already. The file was not changed.'],
  spliced: ['Spliced', 'A new header was put in front of the same media; the media was not touched.'],
  remuxed: ['Remuxed', 'Its packets were written unchanged into a new container.'],
  salvaged: ['Salvaged', 'The writer had crashed. The header was rebuilt from the media.'],
};
const METHODS = {
  insert_range: 'The header was inserted in place, without copying.', reflink: 'The file shares its blocks with the original; nothing was copied.',
  copy_range: 'The media was copied inside the kernel.', copy: 'The media was copied.',
};

/** Why pictures are missing: `no poster: …`. */
function withoutPicture(missing) {
  const [, title, why] = /^([^:]+): (?:`[^`]*` cannot be finished: )?(.*)$/s.exec(missing) ?? ['', 'No picture', missing];
  return { icon: 'film', kind: 'warn', title: capital(title), text: `${capital(why)}. The recording itself was not changed. \`aftercast process --again FILE\` tries again.` };
}

function stepsOf(vod) {
  const [title, meaning] = OUTCOMES[vod.outcome] ?? [vod.outcome, ''];
  const steps = [
    { icon: 'radio', title: 'Recorded', at: vod.startTime, text: `${span(vod.duration)}, by ${vod.server}. Start time ${STARTS[vod.startSource] ?? ''}.` },
    { icon: 'search', title: 'Writing ended', at: Math.round(vod.source.mtime_ns / 1e6), text: EVIDENCE[vod.evidence.kind] ?? '', path: vod.sourcePath },
    { icon: vod.salvaged ? 'wrench' : 'circle-check', title, at: vod.creationDate, kind: vod.salvaged ? 'warn' : 'ok', text: `${meaning}${METHODS[vod.splice] ? ` ${METHODS[vod.splice]}` : ''}`, path: vod.filePath },
  ];
  if (vod.pictures?.missing) steps.push(withoutPicture(vod.pictures.missing));
  if (vod.originalPath) steps.push({ icon: 'archive', title: 'Original kept', text: 'It holds what the finished file does not.', path: vod.originalPath });
  for (const copy of vod.remote ?? []) {
    const proof = copy.checksumCompared ? `Checksum compared (${copy.checksum?.split(':')[0] ?? 'of the store'}).` : 'Size compared.';
    steps.push({
      icon: copy.differs ? 'triangle-alert' : 'cloud-upload', kind: copy.differs ? 'bad' : 'ok', title: copy.differs ? `Differs in ${copy.target}` : `Delivered to ${copy.target}`,
      at: copy.verifiedMs, text: copy.differs ?? `${size(copy.sizeBytes)}. ${proof}`, path: copy.url,
    });
  }
  if (!vod.remote?.length) steps.push({ icon: 'cloud', title: 'Not delivered', kind: 'idle', text: 'No store has confirmed a copy yet.', isOpen: true });
  if (vod.freedAt) steps.push({ icon: 'hard-drive', title: 'Local file freed', at: vod.freedAt, text: 'It was delivered and proven before.' });
  return steps;
}

export const Journey = ({ vod }) => html`<ol class="journey">${stepsOf(vod).map((step) => html`
    <li class=${step.kind ?? ''}>
      <span class="step-icon"><${Icon} name=${step.icon} /></span>
      <div><p class="step-title">${step.title}${step.at !== undefined && html`<span class="step-time"><${Time} ms=${step.at} /></span>`}</p>
        <p><${Words} text=${step.text} /></p>${step.path && html`<p class="path"><code>${step.path}</code></p>`}</div>
    </li>`)}</ol>`;

const SOURCES = { given: 'a file that was given', stream: 'an earlier recording of the stream', sibling: 'a recording beside it', other: 'a recording of another stream', media: 'the recording itself' };
const TRUST = { high: ['ok', 'Packets, order and times are proven by the media.'], medium: ['warn', 'Packets are certain; times are within a frame of sound or so, or a gap has more than one explanation.'], low: ['bad', 'Parts are guessed.'] };

/** The bytes of the file in their order, with what nothing explains. */
const LossMap = ({ report }) => {
  const total = report.mediaBytes + report.zeroTailBytes;
  const label = `${size(report.mediaBytes - report.unexplainedBytes)} of ${size(report.mediaBytes)} are explained; ${counted(report.gapCount, 'gap')}`;
  const part = (bytes) => (100 * bytes) / (total || 1);
  return html`
    <svg class="loss" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${label}>
      <rect class="good" x="0" y="0" width=${part(report.mediaBytes)} height="10"></rect>
      ${report.gaps.map((gap) => html`<rect class="gap" x=${part(gap.offset)} y="0" width=${Math.max(0.4, part(gap.bytes))} height="10"></rect>`)}
      ${report.zeroTailBytes > 0 && html`<rect class="zeros" x=${part(report.mediaBytes)} y="0" width=${part(report.zeroTailBytes)} height="10"></rect>`}
    </svg>
    <div class="loss-scale"><span>0</span><span>${size(total)}</span></div>`;
};

export const Salvage = ({ vod, onSeek }) => {
  const report = vod.salvage;
  const places = gapsOf(vod);
  const [kind, words] = TRUST[report.confidence] ?? ['', ''];
  return html`
    <p><${Badge} kind=${kind}>Confidence: ${report.confidence}</${Badge}> ${words} Codec parameters came from ${SOURCES[report.source] ?? report.source}.</p>
    <${LossMap} report=${report} />
    <ul class="legend"><li><i class="good"></i>explained by packets</li>${report.gaps.length > 0 && html`<li><i class="gap"></i>no packet: ${size(report.unexplainedBytes)}</li>`}${report.zeroTailBytes > 0 && html`<li><i class="zeros"></i>zeros at the end: ${size(report.zeroTailBytes)}</li>`}</ul>
    <div class="sideways" tabIndex="0" role="group" aria-label="Salvaged tracks"><table><thead><tr><th scope="col">Track</th><th scope="col" class="number">Packets found</th><th scope="col" class="number">Lost, about</th><th scope="col" class="number">Duration</th></tr></thead>
      <tbody>${report.tracks.map((track) => html`<tr><td>${track.kind} · ${track.codec}</td><td class="number">${track.packets.toLocaleString()}</td><td class="number">${track.lost.toLocaleString()}</td><td class="number">${span(track.durationMs)}</td></tr>`)}</tbody></table></div>
    ${report.gaps.length > 0 && html`<details><summary>${counted(report.gapCount, 'gap')}${report.gapCount > report.gaps.length && `, the first ${report.gaps.length} of them`}</summary>
      <div class="sideways" tabIndex="0" role="group" aria-label="Gaps"><table><thead><tr><th scope="col">About at</th><th scope="col" class="number">At byte</th><th scope="col" class="number">Bytes</th><th scope="col" class="number">Pictures lost</th><th scope="col" class="number">Audio frames lost</th><th scope="col">Certainty</th></tr></thead>
      <tbody>${report.gaps.map((gap, index) => html`<tr><td><${Button} kind="small" icon="play" onClick=${() => onSeek(places[index].atMs)}>${clock(places[index].atMs)}</${Button}></td><td class="number">${gap.offset.toLocaleString()}</td><td class="number">${size(gap.bytes)}</td><td class="number">${gap.lostPictures}</td><td class="number">${gap.lostAudio}</td><td>${gap.isAmbiguous ? `ambiguous by ${span(gap.doubtMs)}` : 'clear'}</td></tr>`)}</tbody></table></div></details>`}
    ${report.decodeErrors !== undefined && html`<p class="fade">Decoding samples from the beginning, the middle and the end: ${report.decodeErrors ? counted(report.decodeErrors, 'error') : 'no errors'}.</p>`}`;
};
