// A thin layer over <video>: keys, marks, frame steps, a clip between two points.

import { useEffect, useRef, useState } from './vendor/hooks.mjs';
import { Button, Icon, html } from './parts.js';
import { clock } from './format.js';
import { cellAt } from './pictures.js';

const SPEEDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 4, 8];
const SHUTTLE = [1, 2, 4, 8];
const REWIND_TICK_MS = 100;

const FAILURES = {
  2: 'The connection broke while the recording was read.',
  3: 'A part of the recording does not decode in this browser.',
  4: 'This browser cannot play it: the file is not here any more, or its codec is not supported. Download it to play it elsewhere.',
};

export const Player = ({ src, poster, durationMs, frameRate, marks = [], sprite, startAtMs, points, setPoints, actions, onTime, isAudio, name, onFailure }) => {
  const video = useRef(null);
  const shell = useRef(null);
  const bar = useRef(null);
  const [now, setNow] = useState(0);
  const [length, setLength] = useState(durationMs / 1000);
  const [loaded, setLoaded] = useState(0);
  const [isPlaying, setPlaying] = useState(false);
  const [isWaiting, setWaiting] = useState(false);
  const [speed, setSpeed] = useState(1);
  const [isMuted, setMuted] = useState(false);
  const [failure, setFailure] = useState(null);
  const [hover, setHover] = useState(null);
  const rewind = useRef(null);

  const seek = (second) => {
    const to = Math.min(Math.max(0, second), length || second);
    video.current.currentTime = to;
    setNow(to);
  };
  const stopRewind = () => {
    clearInterval(rewind.current?.timer);
    rewind.current = null;
  };
  const setRate = (rate) => {
    setSpeed(rate);
    video.current.playbackRate = rate;
  };
  const play = () => {
    stopRewind();
    video.current.play().catch(() => {});
  };
  const pause = () => {
    stopRewind();
    video.current.pause();
  };
  const toggle = () => (video.current.paused && !rewind.current ? play() : pause());
  const step = (frames) => {
    pause();
    // The middle of a frame: a time on its edge shows the one before in some browsers.
    const length1 = 1 / (frameRate || 25);
    seek((Math.floor(video.current.currentTime / length1 + 0.02) + frames + 0.5) * length1);
  };
  const forward = () => {
    const at = SHUTTLE.indexOf(speed);
    setRate(video.current.paused ? 1 : SHUTTLE[Math.min(SHUTTLE.length - 1, at + 1)] ?? 1);
    play();
  };
  const backward = () => {
    const pace = rewind.current ? Math.min(8, rewind.current.pace * 2) : 1;
    pause();
    const timer = setInterval(() => {
      if (!video.current) return clearInterval(timer);
      return seek(video.current.currentTime - (pace * REWIND_TICK_MS) / 1000);
    }, REWIND_TICK_MS);
    rewind.current = { timer, pace };
  };
  const fullScreen = () => (document.fullscreenElement ? document.exitFullscreen() : shell.current.requestFullscreen?.());
  const setPoint = (end) => setPoints?.({ ...points, [end]: Math.round(video.current.currentTime * 1000) });

  useEffect(() => {
    const element = video.current;
    const reads = {
      timeupdate: () => { setNow(element.currentTime); onTime?.(element.currentTime * 1000); },
      seeked: () => { setNow(element.currentTime); onTime?.(element.currentTime * 1000); setWaiting(false); },
      durationchange: () => Number.isFinite(element.duration) && setLength(element.duration),
      loadedmetadata: () => { setFailure(null); if (startAtMs) seek(startAtMs / 1000); },
      play: () => setPlaying(true),
      playing: () => setWaiting(false),
      waiting: () => setWaiting(true),
      pause: () => setPlaying(false),
      ended: () => setPlaying(false),
      progress: () => element.buffered.length && setLoaded(element.buffered.end(element.buffered.length - 1)),
      volumechange: () => setMuted(element.muted),
      error: () => {
        setWaiting(false);
        setFailure(FAILURES[element.error?.code] ?? 'The recording cannot be played.');
        onFailure?.().then((words) => words && setFailure(words), () => {});
      },
    };
    for (const [type, listener] of Object.entries(reads)) element.addEventListener(type, listener);
    return () => {
      stopRewind();
      for (const [type, listener] of Object.entries(reads)) element.removeEventListener(type, listener);
    };
  }, [src]);
  useEffect(() => {
    const element = video.current;
    return () => {
      // A player that is gone must not go on reading.
      element.removeAttribute('src');
      element.load();
    };
  }, []);

  useEffect(() => {
    const keys = {
      ' ': toggle, k: pause, l: forward, j: backward, ',': () => step(-1), '.': () => step(1), i: () => setPoint('in'), o: () => setPoint('out'),
      m: () => { video.current.muted = !video.current.muted; }, f: fullScreen, ArrowLeft: () => seek(video.current.currentTime - 5), ArrowRight: () => seek(video.current.currentTime + 5),
      ArrowUp: () => { video.current.volume = Math.min(1, video.current.volume + 0.1); }, ArrowDown: () => { video.current.volume = Math.max(0, video.current.volume - 0.1); },
      Home: () => seek(0), End: () => seek(length),
    };
    const key = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input:not([type=range]), select, textarea, dialog, summary')) return;
      if ((event.key === ' ' || event.key === 'Enter') && event.target.closest('button, a')) return;
      const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      const isOfPage = (event.key === 'ArrowUp' || event.key === 'ArrowDown' || event.key === 'Home' || event.key === 'End') && !shell.current.contains(event.target);
      if (!act || isOfPage) return;
      event.preventDefault();
      act();
    };
    addEventListener('keydown', key);
    return () => removeEventListener('keydown', key);
  });

  const part = (second) => `${length ? Math.min(100, (100 * second) / length) : 0}%`;
  const look = (event) => {
    const { left, width } = bar.current.getBoundingClientRect();
    const second = (Math.min(Math.max(0, event.clientX - left), width) / width) * length;
    const near = length * 6;
    const mark = marks.find((each) => second * 1000 > each.atMs - near && second * 1000 < each.atMs + (each.lengthMs ?? 0) + near);
    setHover({ second, part: part(second), mark, cell: sprite && cellAt(sprite.tiles, second * 1000) });
  };
  // Half its width: it stays within the bar.
  const half = `${hover?.mark ? 100 : sprite ? sprite.tiles.width / 2 + 8 : 28}px`;
  const [inMs, outMs] = [points?.in, points?.out];
  return html`
    <div class=${`player ${isAudio ? 'audio' : ''}`} ref=${shell} role="group" aria-label="Player">
      <div class="screen" onClick=${toggle}>
        <video ref=${video} src=${src} poster=${poster} preload="metadata" playsinline tabIndex="-1" aria-label=${name} data-player></video>
        ${isAudio && html`<${Icon} name="music" />`}
        ${isWaiting && !failure && html`<span class="spinner" role="status" aria-label="Loading"></span>`}
        ${failure && html`<div class="screen-fault" role="alert"><${Icon} name="circle-alert" /><p>${failure}</p></div>`}
      </div>
      <div class="seek" ref=${bar} onPointerMove=${look} onPointerLeave=${() => setHover(null)}>
        <span class="loaded" style=${{ width: part(loaded) }}></span>
        <span class="played" style=${{ width: part(now) }}></span>
        ${inMs !== undefined && outMs > inMs && html`<span class="cut" style=${{ left: part(inMs / 1000), width: part((outMs - inMs) / 1000) }}></span>`}
        ${inMs !== undefined && html`<span class="point in" style=${{ left: part(inMs / 1000) }}></span>`}
        ${outMs !== undefined && html`<span class="point out" style=${{ left: part(outMs / 1000) }}></span>`}
        ${marks.map((mark) => html`<span class=${`mark ${mark.level}`} style=${{ left: `min(${part(mark.atMs / 1000)}, 100% - 3px)`, width: mark.lengthMs ? part(mark.lengthMs / 1000) : '3px' }}></span>`)}
        <input type="range" min="0" max=${length || 0} step="0.01" value=${now} aria-label="Position" aria-valuetext=${`${clock(now * 1000)} of ${clock(length * 1000)}`} onInput=${(event) => seek(Number(event.target.value))} />
        ${hover && html`<span class="bubble" style=${{ left: `clamp(${half}, ${hover.part}, 100% - ${half})` }}>
          ${hover.cell && html`<span class="cue" style=${{ width: `${sprite.tiles.width}px`, height: `${sprite.tiles.height}px`, backgroundImage: `url("${sprite.image}")`, backgroundPosition: `-${hover.cell.column * sprite.tiles.width}px -${hover.cell.row * sprite.tiles.height}px` }}></span>`}
          ${hover.mark && html`<span class="of-mark">${hover.mark.title}</span>`}${clock(hover.second * 1000)}</span>`}
      </div>
      <div class="controls">
        <${Button} icon=${isPlaying ? 'pause' : 'play'} label=${isPlaying ? 'Pause (K)' : 'Play (space)'} onClick=${toggle} />
        <${Button} icon="step-back" label="One frame back (,)" onClick=${() => step(-1)} />
        <${Button} icon="step-forward" label="One frame on (.)" onClick=${() => step(1)} />
        <span class="clock"><b>${clock(now * 1000, true)}</b> / ${clock(length * 1000)}</span>
        <span class="space-between"></span>
        <select aria-label="Speed" value=${speed} onChange=${(event) => setRate(Number(event.target.value))}>${SPEEDS.map((value) => html`<option value=${value}>${value}×</option>`)}</select>
        <${Button} icon=${isMuted ? 'volume-x' : 'volume-2'} label=${isMuted ? 'Sound on (M)' : 'Mute (M)'} aria-pressed=${isMuted} onClick=${() => { video.current.muted = !video.current.muted; }} />
        ${setPoints && html`<${Button} kind="small" label="In point (I)" onClick=${() => setPoint('in')}>In</${Button}><${Button} kind="small" label="Out point (O)" onClick=${() => setPoint('out')}>Out</${Button}>`}
        <${Button} icon="maximize" label="Full screen (F)" onClick=${fullScreen} />
      </div>
      ${actions?.(now * 1000, video)}
    </div>`;
};

