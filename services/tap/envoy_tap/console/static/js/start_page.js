// Starting a session: why, what, where, how much; beside it, what will happen.

import { announce, debounced, fill, h, uniqueId } from "./dom.js";
import { bytes, count, span } from "./format.js";
import { listed, nodeChoice } from "./node_choice.js";
import { predicateField } from "./predicate_field.js";
import { go } from "./route.js";
import { stateBox } from "./states.js";
import { targetBuilder } from "./target_builder.js";

const DURATIONS = [60, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600];
const EXCHANGES = [10, 100, 1000, 10_000, 100_000];
const BODIES = [0, 4 << 10, 64 << 10, 1 << 20, 16 << 20];
const TOTALS = [1 << 20, 64 << 20, 256 << 20, 1 << 30];
const RATES = [1, 10, 100, 1000];

export function startPage({ api, me, may, view }) {
  if (!may("start")) {
    const box = stateBox("empty", "You can't start sessions.", `${me.name} is ${me.role}; starting takes an operator.`);
    return { element: h("div", { class: "page" }, box), close() {} };
  }
  const why = h("input", { id: "why", type: "text", maxlength: 500, autocomplete: "off", placeholder: "INC-4711: refunds answer 502", required: true });
  const nodes = nodeChoice();
  const limits = {
    duration_s: choice("Time", DURATIONS, 600, span),
    exchanges: choice("Exchanges", EXCHANGES, 1000, (value) => value.toLocaleString("en")),
    body_bytes: choice("Of each body", BODIES, 64 << 10, (value) => (value ? bytes(value) : "nothing")),
    bytes: choice("Bytes in all", TOTALS, 64 << 20, bytes),
    rate_per_s: choice("A second", RATES, 100, String),
  };
  const redact = h("input", { id: "redact", type: "text", autocomplete: "off", spellcheck: "false", placeholder: "x-account, cards[*].number" });
  const placeholders = h("input", { id: "placeholders", type: "checkbox" });
  const problem = h("div", { class: "problem", role: "alert" });
  const happens = h("dl", { class: "happens" });
  const preview = h("p", { class: "preview", role: "status" });
  const submit = h("button", { class: "button primary", type: "submit" }, "Start capturing");
  let read = null;

  const field = predicateField({
    api,
    label: "Predicate",
    value: "all",
    rows: 3,
    valid: (text, found) => {
      read = found;
      submit.disabled = false;
      tell();
      ask(text);
    },
    invalid: () => {
      read = null;
      submit.disabled = true;
      fill(preview);
      tell();
    },
  });
  // What was typed by hand is no longer what the form above says.
  field.input.addEventListener("input", () => builder.clear());
  const builder = targetBuilder((predicate) => field.set(predicate));

  const ask = debounced(async (text) => {
    try {
      const { of, matches } = await api.post("/preview", { predicate: text });
      fill(preview, of ? [h("strong", {}, `${matches.toLocaleString("en")} of the last ${count(of, "exchange")}`), " would match."] : "Nothing has been captured yet to try it on.");
    } catch (error) {
      fill(preview, h("span", { class: "hint" }, error.status === 422 ? "" : `No preview: ${error.message}`));
    }
  }, 150);

  function tell() {
    const rows = [
      ["In the proxy", read ? part(read.proxy, "all requests") : "–", "decided before a byte leaves it"],
      ["In the collector", read ? part(read.collector, "nothing is left to decide") : "–", read && read.collector !== "all" && "the proxy sends all that its part lets through"],
      ...(read?.warnings ?? []).map((text) => ["Mind", "", text]),
      ["Reaches", nodes.reach(), ""],
      ["Ends", `after ${span(limits.duration_s.value())}, or ${count(limits.exchanges.value(), "exchange")}, or ${bytes(limits.bytes.value())}`, "whichever comes first, in the proxy too"],
      ["Redacts", "credentials, tokens, cards, e-mail addresses", placeholders.checked ? "in the collector; equal secrets get equal placeholders" : "in the proxy, before anything leaves it"],
    ];
    fill(happens, rows.map(([name, text, more]) => h("div", {}, h("dt", {}, name), h("dd", {}, text && h("code", {}, text), more && h("small", {}, more)))));
  }

  async function prepare() {
    const like = view.get("like");
    const [found, model] = await Promise.allSettled([api.get("/nodes"), like ? api.get(`/sessions/${like}`) : null]);
    nodes.connected(found.value?.nodes ?? []);
    if (model.value) {
      why.value = model.value.why;
      for (const [name, { set }] of Object.entries(limits)) set(model.value.limits[name]);
      const { headers = [], query = [], names = [], paths = [], style } = model.value.redaction;
      redact.value = [...new Set([...headers, ...query, ...names, ...paths])].join(", ");
      placeholders.checked = style === "hmac";
      nodes.set(model.value.nodes);
      field.set(model.value.predicate);
    } else {
      field.set(view.get("predicate") ?? "all");
    }
    tell();
  }

  async function start(event) {
    event.preventDefault();
    fill(problem);
    const extra = listed(redact.value);
    const names = extra.filter((each) => !/[.[]/.test(each));
    const asked = {
      why: why.value,
      predicate: field.input.value.trim() || "all",
      nodes: nodes.value(),
      limits: Object.fromEntries(Object.entries(limits).map(([name, { value }]) => [name, value()])),
      redaction: { headers: names, query: names, names, paths: extra.filter((each) => /[.[]/.test(each)), style: placeholders.checked ? "hmac" : "mask" },
    };
    submit.disabled = true;
    try {
      const session = await api.post("/sessions", asked);
      announce(session.state === "waiting" ? "It waits for the approval of another person." : "It captures.");
      go("session", session.id);
    } catch (error) {
      fill(problem, error.path ? `${error.path}: ` : "", error.message, error.hint ? `; ${error.hint}` : "");
      (error.path === "why" ? why : submit).focus();
      submit.disabled = false;
    }
  }

  const form = h(
    "form",
    { class: "panel start", on: { submit: start, change: tell, input: tell } },
    h("div", { class: "field" }, h("label", { for: "why" }, "Why"), why, h("p", { class: "hint" }, "Kept with the session and in the audit log: a ticket, an incident.")),
    builder.element,
    field.element,
    preview,
    nodes.element,
    h("fieldset", {}, h("legend", {}, "At most"), h("div", { class: "grid5" }, Object.values(limits).map(({ element }) => element))),
    h("fieldset", {}, h("legend", {}, "Redact"),
      h("div", { class: "field" }, h("label", { for: "redact" }, "Beside the defaults: headers, parameters, JSON or form fields"), redact),
      h("label", { class: "check", for: "placeholders" }, placeholders, "Equal secrets get equal placeholders (then they leave the proxy, and are replaced in the collector)")),
    problem,
    h("div", { class: "actions" }, submit),
  );
  prepare();
  const element = h(
    "div",
    { class: "page" },
    h("div", { class: "page-head" }, h("h1", {}, "Start a session")),
    h("div", { class: "beside" }, form, h("aside", { class: "panel sticky", "aria-label": "What will happen" }, h("h2", {}, "What will happen"), happens)),
  );
  return { element, close() {}, shown: () => why.focus() };
}

function part(predicate, whenAll) {
  return predicate === "all" ? whenAll : predicate;
}

function choice(label, values, chosen, shown) {
  const id = uniqueId("limit");
  const input = h("select", { id });
  const set = (value) => {
    if (!values.includes(value)) values = [...values, value].sort((a, b) => a - b);
    fill(input, values.map((each) => h("option", { value: each }, shown(each))));
    input.value = String(value);
  };
  set(chosen);
  return { element: h("div", { class: "field" }, h("label", { for: id }, label), input), value: () => Number(input.value), set };
}
