// Which proxies a session is for: chosen from those that are connected, or by pattern for those that may come.

import { h, put, uniqueId } from "./dom.js";
import { count } from "./format.js";

/** Return `{element, connected(nodes), set(selector), value(), reach()}`; the value is what the API takes as `nodes`. */
export function nodeChoice() {
  const boxes = h("div", { class: "boxes" });
  const ids = field("Ids, * is any text", "edge-*, gateway-7");
  const clusters = field("Clusters (node.cluster)", "payments-*");
  const element = h(
    "fieldset",
    { class: "nodes-choice" },
    h("legend", {}, "Proxies"),
    boxes,
    h("details", {}, h("summary", {}, "By pattern"), h("div", { class: "grid2" }, ids.element, clusters.element)),
  );
  let known = [];

  function connected(nodes) {
    known = nodes;
    put(boxes, nodes.map(box), h("p", { class: "hint" }, nodes.length ? "None chosen: all of them, and those that come." : "No Envoy is connected; the session waits for one."));
  }

  function set({ ids: wanted = [], clusters: named = [] }) {
    const here = new Map([...boxes.querySelectorAll("input")].map((input) => [input.value, input]));
    for (const id of wanted) if (here.has(id)) here.get(id).checked = true;
    ids.input.value = wanted.filter((id) => !here.has(id)).join(", ");
    clusters.input.value = named.join(", ");
    element.querySelector("details").open = Boolean(ids.input.value || clusters.input.value);
  }

  function value() {
    const chosen = [...boxes.querySelectorAll("input:checked")].map((input) => input.value);
    const found = { ids: [...chosen, ...listed(ids.input.value)], clusters: listed(clusters.input.value) };
    return Object.fromEntries(Object.entries(found).filter(([, texts]) => texts.length));
  }

  /** Say which of those connected that is. */
  function reach() {
    const { ids: wanted = [], clusters: named = [] } = value();
    const fitting = known.filter((node) => fits(wanted, node.id) && fits(named, node.cluster));
    if (!known.length) return "no Envoy is connected yet; it reaches those that come";
    if (!wanted.length && !named.length) return `all, now ${count(known.length, "Envoy")}`;
    return `${fitting.length} of ${count(known.length, "Envoy")} connected: ${fitting.slice(0, 5).map((node) => node.id).join(", ")}${fitting.length > 5 ? ", …" : ""}`;
  }
  return { element, connected, set, value, reach };
}

function box(node) {
  const id = uniqueId("node");
  return h("label", { class: "check", for: id }, h("input", { id, type: "checkbox", value: node.id }), h("code", {}, node.id), h("span", { class: "hint" }, node.cluster), node.nack && h("span", { class: "tone-bad" }, "refused its slot"));
}

function field(label, placeholder) {
  const id = uniqueId("nodes");
  const input = h("input", { id, type: "text", placeholder, spellcheck: "false", autocomplete: "off" });
  return { input, element: h("div", { class: "field" }, h("label", { for: id }, label), input) };
}

/** "a, b" → ["a", "b"]. */
export function listed(text) {
  return text.split(",").map((each) => each.trim()).filter(Boolean);
}

function fits(patterns, name) {
  return !patterns.length || patterns.some((pattern) => new RegExp(`^${pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`).test(name));
}
