// Two exchanges side by side, line by line: what is equal is folded away.

import { button, h } from "./dom.js";
import { decodedLines } from "./decoded_view.js";
import { diff } from "./diff.js";
import { bodyBytes, bodyText, headerText, hexRows } from "./payload.js";

const AROUND = 3;
const MOST_LINES = 5000;

/** Return what differs from `before` to `after`. */
export function compareTab(before, after) {
  const parts = [
    ["Line", lineOf],
    ["Request headers", (found) => headerLines(found.exchange.request)],
    ["Request body", (found) => bodyLines(found.exchange.request, found.decoded?.request)],
    ["Response headers", (found) => headerLines(found.exchange.response)],
    ["Response body", (found) => bodyLines(found.exchange.response, found.decoded?.response)],
  ];
  return [
    h("p", { class: "hint" }, h("span", { class: "d-out" }, `− #${before.summary.seq}`), "  ", h("span", { class: "d-in" }, `+ #${after.summary.seq}`)),
    parts.map(([title, lines]) => part(title, diff(lines(before), lines(after)))),
  ];
}

function part(title, lines) {
  const changes = lines.filter(([sign]) => sign !== " ").length;
  const says = !lines.length ? "nothing in both" : changes ? "" : "equal";
  return h("section", {}, h("h3", {}, title, says && h("span", { class: "hint" }, ` ${says}`)), changes > 0 && shown(lines));
}

function shown(lines) {
  const box = h("div", { class: "diff" });
  for (let at = 0; at < lines.length; ) {
    let end = at;
    while (end < lines.length && lines[end][0] === lines[at][0]) end += 1;
    const group = lines.slice(at, end);
    if (group[0][0] === " " && group.length > 2 * AROUND + 1) {
      const head = at ? AROUND : 0;
      const tail = end < lines.length ? AROUND : 0;
      const folded = group.slice(head, group.length - tail);
      box.append(...group.slice(0, head).map(line));
      const more = button(`${folded.length} equal lines`, { kind: "quiet" }, () => more.replaceWith(...folded.map(line)));
      box.append(more, ...group.slice(group.length - tail).map(line));
    } else {
      box.append(...group.map(line));
    }
    at = end;
  }
  return box;
}

function line([sign, text]) {
  const kind = { "-": "d-out", "+": "d-in" }[sign] ?? "d-same";
  const label = { "-": "out: ", "+": "in: " }[sign];
  return h("div", { class: `d-line ${kind}` }, h("span", { class: "d-sign", "aria-hidden": "true" }, { "-": "−", "+": "+" }[sign] ?? ""), label && h("span", { class: "unseen" }, label), text);
}

function lineOf({ summary }) {
  return [`${summary.method} ${summary.path}`, `host ${summary.authority}`, `status ${summary.status ?? "none"}`];
}

function headerLines(message) {
  return (message?.headers ?? []).map(([name, value]) => `${name}: ${headerText(value)}`).sort();
}

function bodyLines(message, decoded) {
  const lines = decodedLines(decoded);
  if (lines.length) return lines.slice(0, MOST_LINES);
  const text = bodyText(message);
  if (text !== null) return text ? text.split("\n").slice(0, MOST_LINES) : [];
  return hexRows(bodyBytes(message), 0, 16 * 1000);
}
