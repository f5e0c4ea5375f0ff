// The tabs of one exchange: overview, request, response, redaction, as stored.

import { button, h } from "./dom.js";
import { bodyView } from "./body_view.js";
import { flagText, statusText } from "./columns.js";
import { bytes, duration } from "./format.js";
import { readJson } from "./json_text.js";
import { jsonView } from "./json_view.js";
import { marked } from "./marks.js";
import { headerText } from "./payload.js";
import { quoted } from "./predicate.js";

const MOST_CHARS = 16_000;
const OWN = new Set(["seq", "time", "finished", "node", "tap_id", "trace_id", "source", "request", "response", "flags", "session", "facts"]);

/** Return what happened, when, between whom. */
export function overviewTab({ summary, exchange }, acts) {
  const rows = (title, pairs) => {
    const found = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
    return found.length > 0 && h("section", {}, h("h3", {}, title), h("table", { class: "pairs" }, h("tbody", {}, found.map(([name, value, condition]) => pair(name, value, condition && (() => acts.narrow(condition)))))));
  };
  const path = (summary.path ?? "").split("?")[0];
  return [
    rows("Request and answer", [
      ["Method", summary.method, summary.method && `method = ${quoted(summary.method)}`],
      ["Host", summary.authority, summary.authority && `authority = ${quoted(summary.authority)}`],
      ["Path", summary.path, path && `path = ${quoted(path)}`],
      ["Scheme", summary.scheme],
      ["Protocol", summary.protocol],
      ["Status", statusText(summary), summary.status && `status = ${summary.status}`],
      ["Sent", `${bytes(summary.request_bytes)} ${summary.request_type ?? ""}`],
      ["Received", `${bytes(summary.response_bytes)} ${summary.response_type ?? ""}`],
    ]),
    rows("Timing", [
      ["Began", exchange.time],
      ["Ended", exchange.finished],
      ["Took", duration(summary.duration_ms), summary.duration_ms !== null && `latency >= ${Math.max(1, Math.floor(summary.duration_ms))}ms`],
    ]),
    rows("Connection", [
      ["Proxy", `${exchange.node?.id ?? ""} (${exchange.node?.cluster ?? ""})`],
      ["Source", exchange.source?.address],
      ["Principal", exchange.source?.principal, exchange.source?.principal && `source.principal = ${quoted(exchange.source.principal)}`],
      ["Trace", summary.trace_id],
      ...facts(exchange),
    ]),
    (summary.flags ?? []).length > 0 && h("section", {}, h("h3", {}, "Completeness"), h("ul", { class: "flags" }, summary.flags.map((flag) => h("li", {}, h("span", { class: "chip tone-warn" }, flagText(flag)[0]), " ", flagText(flag)[1])))),
  ];
}

// Whatever else a driver tells.
function facts(exchange) {
  const found = [];
  const add = (name, value) => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) add(`${name} ${key}`.replaceAll("_", " "), inner);
    } else if (value !== null && value !== undefined && value !== "") {
      found.push([name, Array.isArray(value) ? value.join(", ") : String(value)]);
    }
  };
  for (const [name, value] of Object.entries(exchange.facts ?? {})) if (name !== "protocol") add(name.replaceAll("_", " "), value);
  for (const [name, value] of Object.entries(exchange)) if (!OWN.has(name)) add(name.replaceAll("_", " "), value);
  for (const [name, value] of Object.entries(exchange.source ?? {})) if (!["address", "principal"].includes(name)) add(`source ${name}`, value);
  return found;
}

function pair(name, value, narrow) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, name),
    h("td", {}, h("span", {}, marked(String(value)))),
    h("td", { class: "pair-act" }, narrow && button(`Filter by this ${name}`, { icon: "filter", kind: "quiet", text: false }, narrow)),
  );
}

/** Return a half: headers, body, trailers. `field` is what the predicate calls its headers. */
export function headersTab(message, decoded, exchange, acts, field) {
  if (!message) return h("p", { class: "hint" }, "Nothing of this half was captured.");
  const table = (pairs, isTrailer) =>
    h("table", { class: "pairs headers" }, h("tbody", {}, pairs.map(([name, value]) => {
      const text = headerText(value);
      const canFilter = !isTrailer && text && /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) && typeof value === "string";
      return pair(name, text, canFilter && (() => acts.narrow(`${field}[${name}] = ${quoted(text)}`)));
    })));
  return [
    h("section", {}, h("h3", {}, `Headers (${message.headers.length})`), table(message.headers)),
    h("section", {}, h("h3", {}, "Body"), bodyView(message, decoded, exchange.flags?.truncated)),
    message.trailers?.length > 0 && h("section", {}, h("h3", {}, `Trailers (${message.trailers.length})`), table(message.trailers, true)),
  ];
}

/** Return what was taken out, where, and by which rule. */
export function redactionTab({ redactions = [] }, session) {
  const style = session?.redaction?.style;
  const how = style === "hmac"
    ? "This session replaces secrets by placeholders in the collector, before anything is stored: [hmac:…] is equal for equal secrets."
    : "Secrets are replaced in the proxy, and again in the collector, before anything is stored. They are nowhere in this service.";
  if (!redactions.length) return [h("p", {}, "Nothing was taken out of this exchange."), h("p", { class: "hint" }, how)];
  return [
    h("table", { class: "pairs redactions" },
      h("thead", {}, h("tr", {}, ["Where", "In its place", "Why"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, redactions.map(({ where, placeholder, why }) => h("tr", {}, h("td", {}, h("code", {}, where)), h("td", {}, marked(placeholder)), h("td", {}, why))))),
    h("p", { class: "hint" }, how),
  ];
}

/** Return the object as it is stored; long texts are cut here, and whole in the other tabs. */
export function storedTab(exchange) {
  const cut = (_name, value) =>
    typeof value === "string" && value.length > MOST_CHARS ? `${value.slice(0, MOST_CHARS)}… and ${value.length - MOST_CHARS} characters` : value;
  return jsonView(readJson(JSON.stringify(exchange, cut)));
}
