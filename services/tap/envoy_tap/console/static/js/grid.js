// The list of exchanges: only the rows that can be seen are elements, however many there are.

import { COLUMNS } from "./columns.js";
import { h, icon } from "./dom.js";

export const ROW_PX = 26;
const OVERSCAN = 6;

/**
 * Shows `rows` (see Rows). `acts` has `move(seq)`, `open(seq)`, `select(seq, {toggle, range})` and `sort(column)`.
 *
 * The element is the scroller and the one stop of the Tab key; `cursor` is the row that keys act on.
 */
export class Grid {
  cursor = null;
  selected = new Set();
  opened = null;
  following = true;
  #slots = [];
  #drawing = 0;
  #pinned = [];

  constructor(rows, acts) {
    this.rows = rows;
    this.acts = acts;
    this.heads = COLUMNS.map((column) => this.#head(column));
    this.spacer = h("div", { class: "grid-rows", role: "rowgroup" });
    this.pins = h("div", { class: "grid-pins", role: "rowgroup", hidden: true });
    this.element = h(
      "div",
      { class: "grid", role: "grid", tabindex: "0", "aria-label": "Exchanges", "aria-colcount": COLUMNS.length, "aria-multiselectable": "true" },
      h("div", { class: "grid-head", role: "rowgroup" }, h("div", { class: "grid-row", role: "row", "aria-rowindex": 1 }, this.heads)),
      this.pins,
      this.spacer,
    );
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.element.addEventListener("click", (event) => this.#clicked(event));
    this.resized = new ResizeObserver(() => this.refresh());
    this.resized.observe(this.element);
  }

  close() {
    this.resized.disconnect();
    cancelAnimationFrame(this.#drawing);
  }

  /** Draw in the next frame. */
  refresh() {
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      this.#draw();
    });
  }

  /** How many rows are seen at a time. */
  get page() {
    return Math.max(1, Math.floor((this.element.clientHeight - this.#top) / ROW_PX) - 1);
  }

  get #top() {
    return this.spacer.offsetTop;
  }

  /** Bring the row at `index` into view. */
  reveal(index) {
    const y = index * ROW_PX;
    const seen = this.element.clientHeight - this.#top;
    if (y < this.element.scrollTop) this.element.scrollTop = y;
    else if (y + ROW_PX > this.element.scrollTop + seen) this.element.scrollTop = y + ROW_PX - seen;
    this.refresh();
  }

  pin(rows) {
    this.#pinned = rows.map((row) => {
      const slot = this.#slot("pin");
      this.#bind(slot, row, null);
      return slot;
    });
    this.pins.hidden = !rows.length;
    this.pins.replaceChildren(...this.#pinned.map((slot) => slot.element));
    this.refresh();
  }

  sorted(name, descending) {
    for (const [at, column] of COLUMNS.entries()) {
      const order = column.name === name ? (descending ? "descending" : "ascending") : "none";
      this.heads[at].setAttribute("aria-sort", order);
    }
  }

  #head(column) {
    const sort = h("button", { type: "button", tabindex: "-1", on: { click: () => this.acts.sort(column) } }, column.label);
    return h("div", { class: `cell c-${column.name}${column.end ? " end" : ""}`, role: "columnheader", "aria-sort": "none" }, sort);
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    const atEnd = scrollTop + clientHeight >= scrollHeight - ROW_PX;
    if (!atEnd && this.following && scrollTop < this.lastTop) this.acts.unfollow();
    this.lastTop = scrollTop;
    this.refresh();
  }

  #clicked(event) {
    const row = event.target.closest(".grid-row[data-seq]");
    if (!row) return;
    const seq = Number(row.dataset.seq);
    if (event.ctrlKey || event.metaKey || event.shiftKey) this.acts.select(seq, { range: event.shiftKey });
    else this.acts.open(seq);
  }

  #draw() {
    const { element, rows } = this;
    const height = `${rows.length * ROW_PX}px`;
    if (this.spacer.style.height !== height) this.spacer.style.height = height;
    element.setAttribute("aria-rowcount", rows.length + 1);
    const seen = Math.ceil(element.clientHeight / ROW_PX) + 2 * OVERSCAN;
    if (this.following) element.scrollTop = element.scrollHeight;
    const first = Math.max(0, Math.min(Math.floor(element.scrollTop / ROW_PX) - OVERSCAN, rows.length - seen));
    const last = Math.min(rows.length, first + seen);
    while (this.#slots.length < seen) {
      const slot = this.#slot("row");
      this.#slots.push(slot);
      this.spacer.append(slot.element);
    }
    // A row keeps its element while it is seen, so that scrolling by one fills one.
    for (let at = 0; at < this.#slots.length; at += 1) this.#slots[at].wanted = null;
    for (let index = first; index < last; index += 1) this.#slots[index % this.#slots.length].wanted = index;
    const top = Math.floor(element.scrollTop / ROW_PX);
    const span = timeSpan(rows, top, top + this.page + 2);
    for (const slot of this.#slots) {
      if (slot.wanted === null) slot.element.hidden = true;
      else this.#bind(slot, rows.at(slot.wanted), slot.wanted, span);
    }
    for (const slot of this.#pinned) this.#bind(slot, slot.row, null, span);
    const current = this.#slots.find((slot) => slot.wanted !== null && slot.row?.seq === this.cursor);
    if (current) element.setAttribute("aria-activedescendant", current.element.id);
    else element.removeAttribute("aria-activedescendant");
  }

  #slot(kind) {
    const texts = COLUMNS.map(() => document.createTextNode(""));
    const bar = h("span", { class: "water" });
    const cells = COLUMNS.map((column, at) => h("div", { class: `cell c-${column.name}${column.end ? " end" : ""}`, role: "gridcell" }, kind === "pin" && !at && icon("pin"), texts[at], column.bar && bar));
    const element = h("div", { class: "grid-row", role: "row", id: `${kind}-${Math.random().toString(36).slice(2)}` }, cells);
    return { element, cells, texts, bar, row: null, index: null, wanted: null };
  }

  #bind(slot, row, index, span) {
    const { element } = slot;
    if (slot.row !== row) {
      slot.row = row;
      element.dataset.seq = row.seq;
      for (let at = 0; at < COLUMNS.length; at += 1) {
        const column = COLUMNS[at];
        const text = column.text(row);
        if (slot.texts[at].data !== text) slot.texts[at].data = text;
        if (column.tone) slot.cells[at].dataset.tone = column.tone(row);
        if (column.hint) slot.cells[at].title = column.hint(row);
      }
      element.dataset.tone = slot.cells[6].dataset.tone;
    }
    if (index !== null && slot.index !== index) {
      slot.index = index;
      element.style.transform = `translateY(${index * ROW_PX}px)`;
      element.setAttribute("aria-rowindex", index + 2);
      element.classList.toggle("odd", index % 2 === 1);
    }
    element.hidden = false;
    element.classList.toggle("cursor", row.seq === this.cursor);
    element.classList.toggle("opened", row.seq === this.opened);
    element.setAttribute("aria-selected", String(this.selected.has(row.seq)));
    if (span) {
      slot.bar.style.left = `${Math.max(0, Math.min(98, (100 * (row.at - span.from)) / span.ms))}%`;
      slot.bar.style.width = `${Math.max(1, Math.min(100, (100 * (row.duration_ms ?? 0)) / span.ms))}%`;
    }
  }
}

// The time that the bars stand for: of the rows that are seen.
function timeSpan(rows, first, last) {
  let from = Infinity;
  let to = -Infinity;
  for (let index = Math.max(0, first); index < Math.min(rows.length, last); index += 1) {
    const row = rows.at(index);
    from = Math.min(from, row.at);
    to = Math.max(to, row.at + (row.duration_ms ?? 0));
  }
  return { from, ms: Math.max(1, to - from) };
}
