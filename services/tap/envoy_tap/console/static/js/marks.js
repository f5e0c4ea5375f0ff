// Where something was taken out, it is seen at once.

import { h } from "./dom.js";

const PLACEHOLDER = /\[redacted(?::[^\]\n]*)?\]|\[hmac:[0-9a-f]{16}\]/g;

/** Return `text` as nodes, with each placeholder marked. */
export function marked(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(PLACEHOLDER)) {
    if (found.index > at) parts.push(text.slice(at, found.index));
    parts.push(h("mark", { class: "redacted", title: "taken out before it was stored" }, found[0]));
    at = found.index + found[0].length;
  }
  if (at < text.length) parts.push(text.slice(at));
  return parts;
}
