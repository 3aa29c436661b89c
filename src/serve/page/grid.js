// A list of any length with a few dozen nodes: rows have one height, so a position is arithmetic and nothing is kept per item.

import { useEffect, useLayoutEffect, useRef, useState } from './vendor/hooks.mjs';
import { html } from './parts.js';

// Browsers cap the height of a box (Blink at 2^24 device pixels, which is half of that on a display of two); above this height the
// space scrolls faster than the rows.
const TALLEST_PX = 6_000_000;
const OVERSCAN = 1;
/** Items that are asked for at once. */
export const PAGE = 50;
const KEPT_PAGES = 48;

/** Items by position, in pages that are asked for when they are seen; those seen last are kept. */
export class Pages {
  #pages = new Map();
  #wanted = null;
  #isAsking = false;
  #ask;
  #changed;
  isOver = false;
  total = null;
  error = null;

  constructor(ask, changed) {
    this.#ask = ask;
    this.#changed = changed;
  }

  item(index) {
    return this.#pages.get(Math.floor(index / PAGE))?.items[index % PAGE];
  }

  /** Asks for some that need not be kept. */
  read(offset, limit) {
    return this.#ask(offset, limit);
  }

  /** Asks for what is missing between two positions; of many wishes the last one is heard. */
  want(first, last) {
    this.#wanted = [first, last];
    this.#next();
  }

  /** Everything is asked for again when it is seen; what is known stays until then. */
  refresh() {
    for (const page of this.#pages.values()) page.isOld = true;
    this.#next();
    if (!this.#wanted) this.want(0, 0);
  }

  end() {
    this.isOver = true;
  }

  /** Pages in memory, for tests and the curious. */
  get kept() {
    return this.#pages.size;
  }

  #missing() {
    if (!this.#wanted) return null;
    const [first, last] = this.#wanted.map((index) => Math.floor(Math.max(0, index) / PAGE));
    for (let page = first; page <= last; page += 1) {
      const known = this.#pages.get(page);
      if (!known || known.isOld) return page;
      this.#pages.delete(page);
      this.#pages.set(page, known);
    }
    return null;
  }

  async #next() {
    if (this.#isAsking || this.isOver) return;
    const page = this.#missing();
    if (page === null) return;
    this.#isAsking = true;
    try {
      const { items, total } = await this.#ask(page * PAGE, PAGE);
      this.#pages.delete(page);
      this.#pages.set(page, { items, isOld: false });
      if (this.#pages.size > KEPT_PAGES) this.#pages.delete(this.#pages.keys().next().value);
      this.total = total;
      this.error = null;
    } catch (error) {
      this.error = error;
      this.#wanted = null;
    }
    this.#isAsking = false;
    if (this.isOver) return;
    this.#changed();
    this.#next();
  }
}

/** Shows the rows that are seen. `draw(index, place)` gives a row's item; `control.current` gets `jump(index)` and `focus(index)`. */
export const Scroller = ({ total, columns, rowHeight, draw, onSee, control, label, role, head, gap = 0, count }) => {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 0, width: 0 });
  const columnsNow = typeof columns === 'function' ? columns(view.width) : columns;
  const heightNow = typeof rowHeight === 'function' ? rowHeight(view.width, columnsNow) : rowHeight;
  const rows = Math.ceil(total / columnsNow);
  const real = rows * heightNow;
  const space = Math.min(real, TALLEST_PX);
  const faster = space < real ? (real - view.height) / (space - view.height) : 1;
  const top = Math.min(view.top * faster, Math.max(0, real - view.height));
  const first = Math.max(0, Math.floor(top / heightNow) - OVERSCAN);
  const last = Math.min(rows - 1, Math.floor((top + view.height) / heightNow) + OVERSCAN);
  const width = columnsNow ? (view.width + gap) / columnsNow - gap : view.width;

  useLayoutEffect(() => {
    const element = box.current;
    // A head that stays at the top covers no row.
    const covered = () => element.querySelector('.head')?.offsetHeight ?? 0;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight - covered(), width: element.clientWidth - sides(element) });
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    let isDue = false;
    const scrolled = () => {
      if (isDue) return;
      isDue = true;
      requestAnimationFrame(() => {
        isDue = false;
        measure();
      });
    };
    element.addEventListener('scroll', scrolled, { passive: true });
    measure();
    return () => {
      watch.disconnect();
      element.removeEventListener('scroll', scrolled);
    };
  }, []);

  const seen = [first * columnsNow, Math.min(total, (last + 1) * columnsNow) - 1];
  useEffect(() => {
    if (view.height) onSee(Math.min(seen[1], Math.max(0, Math.round(top / heightNow) * columnsNow)), seen[0], seen[1]);
  }, [seen[0], seen[1], Math.round(top / heightNow), total, view.height > 0]);

  const scrollTo = (row, isNear) => {
    const element = box.current;
    const wanted = row * heightNow;
    if (isNear && wanted >= top && wanted + heightNow <= top + view.height) return;
    const edge = isNear && wanted + heightNow > top + view.height ? wanted + heightNow - view.height : wanted;
    element.scrollTop = edge / faster;
  };
  control.current = {
    columns: columnsNow,
    top,
    jump: (index) => scrollTo(Math.floor(index / columnsNow), false),
    focus: (index) => {
      scrollTo(Math.floor(index / columnsNow), true);
      let tries = 20;
      const look = () => {
        const found = box.current?.querySelector(`[data-at="${index}"]`);
        if (found) found.focus({ preventScroll: true });
        else if ((tries -= 1) > 0) requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    },
  };

  const items = [];
  if (view.height) {
    for (let index = seen[0]; index <= seen[1]; index += 1) {
      const row = Math.floor(index / columnsNow);
      const y = Math.round(faster === 1 ? row * heightNow : view.top + row * heightNow - top);
      const x = Math.round((index % columnsNow) * (width + gap));
      items.push(draw(index, { transform: `translate(${x}px, ${y}px)`, width: `${Math.floor(width)}px`, height: `${Math.floor(heightNow - gap)}px` }));
    }
  }
  return html`<div class="scroller" ref=${box}>
    ${head}
    <div class="space" role=${role} aria-label=${label} aria-rowcount=${role === 'table' ? count : undefined} style=${{ height: `${space}px` }}>${items}</div>
  </div>`;
};

function sides(element) {
  const style = getComputedStyle(element);
  return parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
}
