// The keys of the list; they work where the list or the opened exchange has the focus, never while something is typed.

import { shortcutsDialog } from "./help.js";

/** Return the listener of key presses. */
export function listKeys({ grid, rows, acts }) {
  const here = () => rows.indexOf(grid.cursor);
  const to = (index) => {
    if (!rows.length) return;
    const row = rows.at(Math.max(0, Math.min(rows.length - 1, index)));
    acts.move(row.seq);
    if (grid.opened !== null) acts.open(row.seq);
  };
  const on = (act) => () => grid.cursor !== null && act(grid.cursor);
  const moves = {
    ArrowDown: () => to(here() + 1),
    ArrowUp: () => to(here() < 0 ? rows.length - 1 : here() - 1),
    Home: () => to(0),
    End: () => to(rows.length - 1),
    PageDown: () => to(here() + grid.page),
    PageUp: () => to(here() - grid.page),
    Enter: on(acts.open),
    " ": acts.pause,
  };
  const letters = {
    j: moves.ArrowDown,
    k: moves.ArrowUp,
    x: on(acts.select),
    p: on(acts.pin),
    d: on(acts.compare),
    c: on(acts.copy),
    f: acts.follow,
    e: acts.export,
    "/": acts.filter,
    "?": shortcutsDialog,
  };
  return (event) => {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const isTyped = target.matches("input, textarea, select");
    if (event.key === "Escape") {
      if (isTyped) grid.element.focus();
      else if (grid.opened !== null) acts.open(null);
      return;
    }
    if (isTyped) {
      if (event.key === "ArrowDown" && target.matches(".predicate-field input")) grid.element.focus();
      return;
    }
    const act = letters[event.key] ?? (target === grid.element ? moves[event.key] : undefined);
    if (!act || target.matches("[role=separator]")) return;
    event.preventDefault();
    act();
  };
}
