// JSON to fold and unfold; what is folded is not there yet, so that a large body costs what is seen of it.

import { h, put } from "./dom.js";
import { marked } from "./marks.js";

const OPEN_DEPTH = 3;
const OPEN_ENTRIES = 50;
const STEP = 200;

/** Return the tree of what `readJson` gave. */
export function jsonView({ root, problem }) {
  return h("div", { class: "json" }, root && node(null, root, 0, true), problem && h("p", { class: "cut" }, `… ${problem.message} (character ${problem.at + 1})`));
}

function node(name, value, depth, isLast) {
  const label = name === null ? null : [h("span", { class: "j-name" }, marked(name)), ": "];
  const comma = isLast ? "" : ",";
  if (!value.entries) return h("div", { class: "j-line" }, label, h("span", { class: `j-${value.kind}` }, marked(value.text)), comma);
  const [open, close] = value.kind === "object" ? ["{", "}"] : ["[", "]"];
  const size = value.entries.length;
  if (!size) return h("div", { class: "j-line" }, label, value.isWhole ? open + close : `${open} …`, comma);
  const inside = h("div", { class: "j-inside" });
  const words = `${size.toLocaleString("en")} ${value.kind === "object" ? "member" : "item"}${size === 1 ? "" : "s"}`;
  const summary = h("span", { class: "j-folded" }, ` ${words} ${close}${comma}`);
  const end = h("div", { class: "j-line" }, value.isWhole ? close : "…", comma);
  const toggle = h("button", { type: "button", class: "j-toggle", "aria-label": `${name ?? "the whole"}, ${words}` });
  const set = (isOpen) => {
    toggle.setAttribute("aria-expanded", String(isOpen));
    inside.hidden = end.hidden = !isOpen;
    summary.hidden = isOpen;
    if (isOpen && !inside.childNodes.length) more(inside, value.entries, depth, 0);
  };
  toggle.addEventListener("click", () => set(toggle.getAttribute("aria-expanded") !== "true"));
  set(depth === 0 || (depth < OPEN_DEPTH && size <= OPEN_ENTRIES));
  return h("div", { class: "j-node" }, h("div", { class: "j-line" }, toggle, label, open, summary), inside, end);
}

function more(inside, entries, depth, from) {
  const to = Math.min(entries.length, from + STEP);
  for (let at = from; at < to; at += 1) put(inside, node(entries[at][0], entries[at][1], depth + 1, at === entries.length - 1));
  if (to === entries.length) return;
  const rest = h("button", { type: "button", class: "button quiet" }, `${(entries.length - to).toLocaleString("en")} more`);
  rest.addEventListener("click", () => {
    rest.remove();
    more(inside, entries, depth, to);
  });
  inside.append(rest);
}
