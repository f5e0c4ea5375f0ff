// One session: what it is, its exchanges live, and the one that is opened.

import { announce, button, fill, h } from "./dom.js";
import { COLUMNS } from "./columns.js";
import { exchangePane } from "./exchange_pane.js";
import { exportDialog } from "./export_dialog.js";
import { Feed } from "./feed.js";
import { Grid } from "./grid.js";
import { listKeys } from "./list_keys.js";
import { narrowed } from "./predicate.js";
import { predicateField } from "./predicate_field.js";
import { remember } from "./route.js";
import { Rows } from "./rows.js";
import { sessionStrip } from "./session_strip.js";
import { split } from "./split.js";
import { errorBox } from "./states.js";
import { feedBanner, listBox } from "./feed_states.js";

export function exchangesPage({ api, may, id, view }) {
  const path = `/sessions/${id}`;
  const rows = new Rows();
  const feeds = new Map();
  let feed = null;
  let session = null;
  let paused = false;
  let sort = null;
  let anchor = null;
  const pins = new Map();
  let versus = Number(view.get("vs")) || null;

  const strip = sessionStrip({ api, may, changed: took });
  const banner = h("div", { class: "banners" });
  const counted = h("span", { class: "counted" });
  const overlay = h("div", { class: "overlay" });

  const filter = predicateField({
    api,
    label: "Filter",
    optional: true,
    stored: true,
    value: view.get("filter") ?? "",
    placeholder: "status=5xx and path^=/orders   (any predicate)",
    valid: (text) => show(text),
  });

  const grid = new Grid(rows, {
    open: (seq) => (move(seq), open(seq)),
    select,
    sort: sortBy,
    unfollow: () => follow(false),
  });
  const pane = exchangePane({ api, may, id, acts: { close: () => open(null), step, pin: togglePin, narrow, compare, session: () => session, export: askExport } });
  const panes = split(h("div", { class: "list" }, grid.element, overlay), pane.element);

  const pauseButton = button("Pause", { icon: "pause", "aria-pressed": "false" }, () => pause(!paused));
  const followButton = button("Follow", { icon: "follow", "aria-pressed": "true" }, () => follow(!grid.following));
  const toolbar = h("div", { class: "toolbar" }, filter.element, counted, pauseButton, followButton, button("Export", { icon: "download" }, askExport));

  const keys = listKeys({
    grid,
    rows,
    acts: { open, move, select, pin: togglePin, compare: (seq) => compare(seq), copy: (seq) => pane.copy(seq), pause: () => pause(!paused), follow: () => follow(!grid.following), filter: () => filter.input.focus(), export: askExport },
  });
  const element = h("div", { class: "page session" }, strip.element, toolbar, banner, panes.element);
  element.addEventListener("keydown", keys);

  function took(found) {
    session = found;
    strip.update(session);
    status();
  }

  // Each filter has its own feed; the one without keeps what it has, so that clearing a filter costs nothing.
  function show(text) {
    if (feed && feed.filter === text) return;
    feed?.close();
    if (feed?.filter) feeds.delete(feed.filter);
    feed = feeds.get(text) ?? new Feed(api, id, text, { rows: came, session: took, state: status });
    feeds.set(text, feed);
    rows.of(feed);
    remember({ filter: text });
    feed.open();
    status();
    grid.refresh();
  }

  let drawn = 0;
  function came() {
    if (drawn) return;
    drawn = requestAnimationFrame(() => {
      drawn = 0;
      if (!paused) rows.refresh();
      status();
      grid.refresh();
    });
  }

  function status(state = feed?.state, detail) {
    const all = session?.counts?.captured;
    const some = feed?.filter && all !== undefined ? ` of ${all.toLocaleString("en")}` : "";
    const more = rows.waiting ? `, ${rows.waiting.toLocaleString("en")} more` : "";
    const text = `${rows.length.toLocaleString("en")}${some}${more}`;
    if (counted.textContent !== text) counted.textContent = text;
    if (detail !== undefined || state !== status.was) fill(banner, feedBanner(state, detail, () => feed.retry()));
    status.was = state;
    listBox(overlay, { state, isEmpty: !rows.length, filter: feed?.filter, session, clear: () => (filter.set(""), filter.input.focus()) });
  }

  function move(seq) {
    grid.cursor = seq;
    const index = rows.indexOf(seq);
    if (index >= 0) grid.reveal(index);
    grid.refresh();
  }

  function open(seq) {
    grid.opened = seq;
    panes.open(seq !== null);
    remember({ seq });
    if (seq === null) grid.element.focus();
    else {
      if (grid.following) follow(false);
      pane.show(seq, versus === seq ? null : versus);
    }
    grid.refresh();
  }

  function step(by) {
    const index = rows.indexOf(grid.opened) + by;
    if (index < 0 || index >= rows.length) return;
    move(rows.at(index).seq);
    open(rows.at(index).seq);
  }

  function select(seq, { range = false } = {}) {
    const [from, to] = [rows.indexOf(range && anchor !== null ? anchor : seq), rows.indexOf(seq)].sort((a, b) => a - b);
    if (range && from >= 0) {
      for (let index = from; index <= to; index += 1) grid.selected.add(rows.at(index).seq);
    } else if (!grid.selected.delete(seq)) grid.selected.add(seq);
    anchor = seq;
    move(seq);
    const chosen = grid.selected.size;
    if (chosen) announce(`${chosen} selected`);
  }

  async function togglePin(seq) {
    if (pins.delete(seq)) return pinned();
    const index = rows.indexOf(seq);
    try {
      const row = index >= 0 ? rows.at(index) : (await api.get(`${path}/exchanges/${seq}`)).summary;
      row.at ??= Date.parse(row.time);
      pins.set(seq, row);
    } catch (error) {
      announce(`#${seq} can't be pinned: ${error.message}`, "bad");
    }
    return pinned();
  }

  function pinned() {
    grid.pin([...pins.values()]);
    remember({ pin: [...pins.keys()].join(",") });
  }

  function compare(seq) {
    versus = versus === seq ? null : seq;
    remember({ vs: versus });
    announce(versus ? `#${versus} is compared with what you open.` : "No comparison.");
    if (grid.opened !== null) pane.show(grid.opened, versus === grid.opened ? null : versus);
  }

  function pause(still) {
    paused = still;
    rows.freeze(still);
    pauseButton.setAttribute("aria-pressed", String(still));
    fill(pauseButton, ...button(still ? "Resume" : "Pause", { icon: still ? "play" : "pause" }).childNodes);
    status();
    grid.refresh();
  }

  function follow(on) {
    grid.following = on;
    followButton.setAttribute("aria-pressed", String(on));
    grid.refresh();
  }

  function sortBy(column, descending = sort?.name === column.name && !sort.descending) {
    // A third click gives the order of arrival back.
    const isNone = sort?.name === column.name && sort.descending;
    sort = isNone || (column.name === "seq" && !descending) ? null : { name: column.name, descending };
    rows.sortBy(sort && column.value, descending);
    grid.sorted(sort?.name, descending);
    remember({ sort: sort && `${descending ? "-" : ""}${sort.name}` });
    if (sort) {
      follow(false);
      grid.element.scrollTop = 0;
    }
    grid.refresh();
  }

  function narrow(condition) {
    filter.set(narrowed(filter.input.value, condition));
  }

  function askExport() {
    exportDialog({ api, id, selected: [...grid.selected], opened: grid.opened, filter: feed?.filter ?? "", shown: rows.length });
  }

  async function begin() {
    try {
      took(await api.get(path));
    } catch (error) {
      if (error.status === 404) {
        fill(element, errorBox({ message: "There is no such session.", hint: "It was deleted, or the link is not whole." }), h("p", { class: "centre" }, h("a", { class: "button", href: "#/sessions" }, "To the sessions")));
        return;
      }
      fill(banner, errorBox(error, begin));
      if (!error.isUnreachable) return;
    }
    const [, minus, name] = /^(-?)(\w+)$/.exec(view.get("sort") ?? "") ?? [];
    const column = COLUMNS.find((each) => each.name === name);
    if (column) sortBy(column, Boolean(minus));
    if (view.get("filter")) filter.check();
    else show("");
    for (const seq of (view.get("pin") ?? "").split(",").filter(Boolean).slice(0, 20)) await togglePin(Number(seq));
    const seq = Number(view.get("seq"));
    if (seq) (move(seq), open(seq));
  }

  begin();
  return {
    element,
    shown: () => grid.element.focus(),
    close() {
      feed?.close();
      feed = null;
      strip.close();
      grid.close();
      pane.close();
    },
  };
}
