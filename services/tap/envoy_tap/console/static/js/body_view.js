// A body in the ways it can be looked at: pretty, raw, hex, as a picture.

import { button, fill, h, put } from "./dom.js";
import { bytes as size } from "./format.js";
import { decodedView } from "./decoded_view.js";
import { readJson } from "./json_text.js";
import { jsonView } from "./json_view.js";
import { marked } from "./marks.js";
import { bodyBytes, bodyText, hexRows, rasterType } from "./payload.js";

const TEXT_STEP = 256 << 10;
const HEX_STEP = 16 << 10;
const MOST_PARSED = 1 << 20;

/** Return the view of a message's body; `decoded` is what the service read in it, if it did. */
export function bodyView(message, decoded, isCut) {
  const bytes = bodyBytes(message);
  if (!bytes.length) return h("p", { class: "hint" }, "No body was captured.");
  const text = bodyText(message);
  const ways = waysOf(bytes, text, decoded);
  const place = h("div", { class: "body-content", tabindex: "0", "aria-label": "Body" });
  const choices = h("div", { class: "segments", role: "group", "aria-label": "How to show the body" });
  const notes = [...(decoded?.notes ?? [])];
  if (isCut) notes.push("a body of this exchange is cut: this may not be all of it");
  const show = (name) => {
    for (const choice of choices.children) choice.setAttribute("aria-pressed", String(choice.dataset.way === name));
    fill(place, ways[name]());
  };
  for (const name of Object.keys(ways)) {
    choices.append(h("button", { type: "button", "data-way": name, on: { click: () => show(name) } }, name));
  }
  show(Object.keys(ways)[0]);
  const facts = [decoded?.media_type, decoded?.charset, size(bytes.length), ...(decoded?.codings ?? []).map((each) => `out of ${each}`)];
  return h(
    "div",
    { class: "body" },
    h("div", { class: "body-head" }, choices, h("span", { class: "hint" }, facts.filter(Boolean).join(", "))),
    notes.map((note) => h("p", { class: "hint note-line" }, note)),
    place,
  );
}

function waysOf(bytes, text, decoded) {
  const ways = {};
  const raster = rasterType(bytes);
  if (raster) ways.Image = () => picture(bytes, raster);
  const pretty = prettyOf(text, decoded);
  if (pretty) ways.Pretty = pretty;
  if (text !== null) ways.Raw = () => longText(text);
  ways.Hex = () => hex(bytes);
  return ways;
}

function prettyOf(text, decoded) {
  const kind = decoded?.kind;
  const source = kind === "text" ? decoded.text : text;
  if (source !== null && (decoded?.language === "json" || (!kind && /^\s*[{[]/.test(source)))) {
    // The stored text keeps what a pretty one may lose; what was packed, or is long, is better read decoded.
    const isFit = text !== null && text.length <= MOST_PARSED && /^\s*[{["\d-]/.test(text);
    const read = readJson(isFit ? text : source);
    if (read.root?.entries) return () => jsonView(read);
  }
  if (kind && !["text", "image", "empty", "binary"].includes(kind)) return () => decodedView(decoded);
  if (kind === "text" && decoded.text !== text) return () => longText(decoded.text);
  return null;
}

function longText(text) {
  const pre = h("pre", { class: "text" });
  const add = (from) => {
    put(pre, marked(text.slice(from, from + TEXT_STEP)));
    if (from + TEXT_STEP >= text.length) return;
    const rest = button(`${size(text.length - from - TEXT_STEP)} more`, { kind: "quiet" }, () => (rest.remove(), add(from + TEXT_STEP)));
    pre.append(rest);
  };
  add(0);
  return pre;
}

function hex(bytes) {
  const pre = h("pre", { class: "text hex" });
  const add = (from) => {
    put(pre, `${hexRows(bytes, from, from + HEX_STEP).join("\n")}\n`);
    if (from + HEX_STEP >= bytes.length) return;
    const rest = button(`${size(bytes.length - from - HEX_STEP)} more`, { kind: "quiet" }, () => (rest.remove(), add(from + HEX_STEP)));
    pre.append(rest);
  };
  add(0);
  return pre;
}

function picture(bytes, type) {
  const url = URL.createObjectURL(new Blob([bytes], { type }));
  const free = () => URL.revokeObjectURL(url);
  const says = h("figcaption", { class: "hint" }, type);
  const image = h("img", { alt: `The captured body, as ${type}`, decoding: "async" });
  image.addEventListener("load", () => (free(), (says.textContent = `${type}, ${image.naturalWidth} × ${image.naturalHeight}`)));
  image.addEventListener("error", () => (free(), (says.textContent = `It begins as ${type} and can't be shown as that.`)));
  image.src = url;
  return h("figure", {}, image, says);
}
