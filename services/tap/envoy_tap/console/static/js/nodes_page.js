// The proxies that are connected, and what each said to its slot.

import { fill, h } from "./dom.js";
import { address } from "./route.js";
import { nodeChip } from "./session_card.js";
import { errorBox, polled, stateBox } from "./states.js";

export function nodesPage({ api }) {
  const body = h("div", {}, stateBox("loading", "Loading the proxies…"));
  const polling = polled(
    () => api.get("/nodes"),
    2000,
    ({ nodes }) => fill(body, nodes.length ? table(nodes) : none()),
    (error) => fill(body, errorBox(error, () => polling.now())),
  );
  const element = h("div", { class: "page" }, h("div", { class: "page-head" }, h("h1", {}, "Proxies")), body);
  return { element, close: () => polling.close() };
}

function none() {
  return stateBox("empty", "No Envoy is connected.", "Give it the tap slot and the cluster of this service: envoy-configs/static/tap.yaml shows both.");
}

function table(nodes) {
  return h(
    "table",
    { class: "panel nodes" },
    h("thead", {}, h("tr", {}, ["Proxy", "Cluster", "Slot", "Sessions", "What Envoy said"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, nodes.map((node) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, h("code", {}, node.id)),
        h("td", {}, node.cluster),
        h("td", {}, h("div", { role: "list" }, nodeChip(node)), node.capability && h("span", { class: "hint" }, String(node.capability))),
        h("td", {}, (node.sessions ?? []).map((id) => h("a", { class: "session-link", href: address("session", id) }, id))),
        h("td", { class: node.nack ? "tone-bad" : "hint" }, node.nack || "nothing against it"),
      ),
    )),
  );
}
