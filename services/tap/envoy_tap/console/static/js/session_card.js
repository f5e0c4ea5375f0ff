// One session in the list.

import { button, fill, h } from "./dom.js";
import { ago, bytes, count, dayAndTime, span } from "./format.js";
import { address } from "./route.js";

const STATES = {
  active: ["good", "captures"],
  waiting: ["warn", "waits for approval"],
  expired: ["dim", "its time was over"],
  stopped: ["dim", "ended by hand"],
  exhausted: ["dim", "used up"],
};

/** Return a card: `{element, update(session, nodes)}`. */
export function sessionCard({ may, actions }) {
  const element = h("article", { class: "panel card" });
  let before = "";
  const update = (session, nodes) => {
    // Only what has changed is drawn, and time is rounded: the focus stays where it is.
    const now = JSON.stringify([session, nodesOf(session, nodes), Math.floor(Date.now() / 5000)]);
    if (now === before) return;
    before = now;
    const had = element.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    fill(element, head(session), predicate(session), h("div", { class: "bars" }, bars(session)), foot(session, nodes));
    if (had) element.querySelector(`[data-act="${had}"]`)?.focus();
  };

  function head(session) {
    return h(
      "div",
      { class: "card-head" },
      stateChip(session),
      h("h2", {}, h("a", { href: address("session", session.id), "data-act": "open" }, session.why)),
      h("span", { class: "grow" }),
      h("span", { class: "hint", title: dayAndTime(session.created_at_s) }, `${people(session)}, ${ago(session.created_at_s)}`),
    );
  }

  function foot(session, nodes) {
    const own = nodesOf(session, nodes);
    const isLive = session.state === "active" || session.state === "waiting";
    return h(
      "div",
      { class: "card-foot" },
      h("div", { class: "chips", role: "list", "aria-label": "Proxies" }, own.map(nodeChip)),
      !own.length && isLive && h("span", { class: "hint" }, "reaches no proxy yet"),
      h("span", { class: "grow" }),
      may("approve") && approveButton(session, () => actions.approve(session)),
      isLive && session.may.includes("stop") && button("Stop", { icon: "stop", "data-act": "stop" }, () => actions.stop(session)),
      !isLive && may("start") && button("Start again", { icon: "again", "data-act": "again" }, () => actions.again(session)),
      session.may.includes("delete") && button("Delete", { icon: "trash", "data-act": "delete" }, () => actions.remove(session)),
    );
  }
  return { element, update };
}

/** Return the button that lets a session begin which waits for it; only another person, as the service has it, can press it. */
export function approveButton(session, click) {
  if (session.state !== "waiting") return null;
  const disabled = !session.may.includes("approve");
  const hint = disabled ? "Another person has to approve it." : undefined;
  return button("Approve", { icon: "check", kind: "primary", "data-act": "approve", disabled, hint }, click);
}

/** Return who started a session, for which team, and who approved it. */
export function people(session) {
  const team = session.team ? ` of ${session.team}` : "";
  return `${session.who}${team}${session.approved_by ? `, approved by ${session.approved_by}` : ""}`;
}

/** Return the chip that names a session's state. */
export function stateChip({ state, ended_by: endedBy }) {
  const [tone, means] = STATES[state] ?? ["dim", ""];
  const title = endedBy ? `${means}: ${endedBy}` : means;
  return h("span", { class: `chip tone-${tone}`, title }, h("span", { class: "dot", "aria-hidden": "true" }), state);
}

function predicate(session) {
  return h("code", { class: "predicate" }, session.predicate);
}

/** Return the bars of a session's limits: time, exchanges, bytes. */
export function bars(session) {
  const { limits, counts = {} } = session;
  return [
    timeBar(session),
    bar("exchanges", counts.captured ?? 0, limits.exchanges, `${(counts.captured ?? 0).toLocaleString("en")} of ${limits.exchanges.toLocaleString("en")}`),
    bar("bytes", counts.bytes ?? 0, limits.bytes, `${bytes(counts.bytes ?? 0)} of ${bytes(limits.bytes)}`),
    losses(counts),
  ];
}

function timeBar({ state, limits, needs_approval: needsApproval, approved_by: approvedBy, expires_at_s: expiresAt, ended_at_s: endedAt }) {
  const most = span(limits.duration_s);
  const left = expiresAt - Date.now() / 1000;
  if (state === "waiting") return bar("time", 0, 1, `${most}, if approved in ${span(left)}`);
  if (needsApproval && !approvedBy) return bar("time", 0, 1, "was not approved");
  // Its time begins when it is approved, so it is counted from its end.
  const used = Math.max(0, limits.duration_s - (expiresAt - (endedAt ?? Date.now() / 1000)));
  return bar("time", used, limits.duration_s, state === "active" ? `${span(left)} left of ${most}` : `ran ${span(used)} of ${most}`);
}

function bar(name, used, most, text) {
  const part = most ? Math.min(1, used / most) : 0;
  const id = `${name} used`;
  return h(
    "div",
    { class: "limit" },
    h("span", { class: "limit-name" }, name),
    h("span", { class: "limit-text" }, text),
    h("div", { class: part > 0.9 ? "meter full" : "meter", role: "meter", "aria-label": id, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(part * 100), "aria-valuetext": text },
      h("div", { class: "meter-fill", style: { width: `${part * 100}%` } })),
  );
}

const LOSSES = {
  unmatched: "did not match after all",
  unread: "of those had too large a body to look for JSON in it",
  over_rate: "came above the rate",
  over_limit: "were above the limit",
  late: "came after the end",
  other_node: "came from other proxies",
  forbidden: "are never captured, by policy",
  dropped: "were dropped: no room, or the disk refused",
  skipped: "were left out in the proxy, for the rate",
  truncated: "of those captured are cut",
  incomplete: "of those captured are incomplete",
};

function losses(counts) {
  const found = Object.entries(LOSSES).filter(([name]) => counts[name]);
  const text = found.map(([name, means]) => `${counts[name].toLocaleString("en")} ${means}`).join("; ");
  return h("div", { class: "limit seen", title: text || undefined }, h("span", { class: "limit-name" }, "seen"), h("span", { class: "limit-text" }, count(counts.seen ?? 0, "exchange")), text && h("span", { class: "losses" }, text));
}

/** The proxies that a session reaches, with the state of their slot: told by the session, or known of those connected. */
export function nodesOf(session, nodes = []) {
  return session.reached ?? nodes.filter((node) => (node.sessions ?? []).includes(session.id));
}

/** Return the chip of a proxy: whether it took its slot, or what it said against it. */
export function nodeChip(node) {
  const settled = node.acked_version && node.acked_version === node.sent_version;
  const [tone, says] = node.nack ? ["bad", `refused: ${node.nack}`] : settled ? ["good", "captures"] : ["warn", "has not answered yet"];
  const text = node.nack ? "refused" : settled ? "armed" : "waiting";
  return h("span", { class: `chip tone-${tone}`, role: "listitem", title: `${node.id} (${node.cluster}) ${says}` }, h("span", { class: "dot", "aria-hidden": "true" }), node.id, h("span", { class: "chip-note" }, text));
}
