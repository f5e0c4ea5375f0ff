// What the page of exchanges says while there are none, or no more.

import { button, fill, h } from "./dom.js";
import { stateBox } from "./states.js";

/** Return the banner of a feed's state, null where all is well. */
export function feedBanner(state, error, retry) {
  const again = button("Try now", { icon: "again" }, retry);
  if (state === "disconnected") {
    return h("div", { class: "banner bad", role: "alert" }, h("p", {}, `Disconnected. ${error?.message ?? ""} ${error?.hint ?? ""} What is shown stays; nothing that is stored is missed.`), again);
  }
  if (state === "failed") {
    return h("div", { class: "banner bad", role: "alert" }, h("p", {}, `${error?.message ?? "The service refused."}${error?.hint ? `; ${error.hint}` : ""}`), again);
  }
  if (state === "missing") {
    return h("div", { class: "banner warn", role: "alert" }, h("p", {}, "This session was deleted, and what it captured with it."), h("a", { class: "button", href: "#/sessions" }, "To the sessions"));
  }
  return null;
}

/** Fill the box over an empty list; `clear` removes the filter. */
export function listBox(overlay, { state, isEmpty, filter, session, clear }) {
  const kind = !isEmpty ? "" : state === "loading" ? "loading" : filter ? "filtered" : (session?.state ?? "");
  const seen = session?.counts?.seen ?? 0;
  const key = `${kind} ${seen > 0} ${filter ?? ""}`;
  if (overlay.dataset.key === key) return;
  overlay.dataset.key = key;
  overlay.hidden = !kind;
  if (kind) fill(overlay, boxOf(kind, seen, session, clear));
}

function boxOf(kind, seen, session, clear) {
  switch (kind) {
    case "loading":
      return stateBox("loading", "Loading what was captured…");
    case "filtered":
      return stateBox("empty", "Nothing fulfils the filter.", "What comes and does will be shown.", button("Clear the filter", { icon: "close" }, clear));
    case "waiting":
      return stateBox("empty", "It waits for approval.", "Another operator has to approve it; then it captures.");
    case "active":
      return seen
        ? stateBox("empty", "Requests come, and none matches.", `The proxies sent what their part of the predicate lets through; “${session.predicate}” keeps none of it so far.`)
        : stateBox("empty", "Waiting for the first request.", `It captures what fulfils “${session.predicate}”. Send such a request through the proxy.`);
    default:
      return stateBox("empty", `It is ${kind}, and captured nothing.`, "Start it again with another target, or for longer.", h("a", { class: "button", href: `#/start?like=${session.id}` }, "Start again"));
  }
}
