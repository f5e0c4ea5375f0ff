// All sessions, newest first: state, who, why, limits used, proxies reached.

import { announce, button, fill, h } from "./dom.js";
import { confirmed } from "./help.js";
import { address, go, remember } from "./route.js";
import { sessionCard } from "./session_card.js";
import { errorBox, polled, stateBox } from "./states.js";

const SHOWS = { all: "All", active: "Active", ended: "Ended" };

export function sessionsPage({ api, me, may, view }) {
  let show = view.get("show") in SHOWS ? view.get("show") : "all";
  let sessions = null;
  let nodes = [];
  const list = h("div", { class: "cards" }, stateBox("loading", "Loading the sessions…"));
  const lost = h("div", {});
  const tabs = h("div", { class: "segments", role: "group", "aria-label": "Which sessions" });
  const proxies = h("aside", { class: "panel proxies", "aria-label": "Proxies" });

  const start = may("start")
    ? h("a", { class: "button primary", href: address("start") }, "Start a session")
    : h("span", { class: "hint" }, `As ${me.role} you can look; starting takes an operator.`);

  const act = async (work, done) => {
    try {
      await work();
      announce(done);
    } catch (error) {
      announce(`${error.message}${error.hint ? `; ${error.hint}` : ""}`, "bad");
    }
    polling.now();
  };
  const actions = {
    stop: (session) => act(() => api.post(`/sessions/${session.id}/stop`), "Stopped; what it captured is kept."),
    approve: (session) => act(() => api.post(`/sessions/${session.id}/approve`), "Approved: it captures from now on."),
    remove: async (session) => {
      const text = `“${session.why}” and ${session.counts?.captured ?? 0} captured exchanges are deleted for good.`;
      if (await confirmed("Delete this session?", text, "Delete it")) {
        await act(() => api.delete(`/sessions/${session.id}`), "Deleted.");
      }
    },
    again: (session) => go("start", "", { like: session.id }),
  };

  const cards = new Map();

  function draw() {
    const wanted = sessions.filter((each) => show === "all" || isLive(each) === (show === "active")).reverse();
    fill(tabs, Object.entries(SHOWS).map(([name, label]) => segment(name, label)));
    if (!wanted.length) {
      fill(list, sessions.length ? stateBox("empty", `No session is ${show}.`) : noSession());
      cards.clear();
      return;
    }
    for (const id of cards.keys()) if (!wanted.some((each) => each.id === id)) cards.delete(id);
    for (const session of wanted) {
      if (!cards.has(session.id)) cards.set(session.id, sessionCard({ may, actions }));
      cards.get(session.id).update(session, nodes);
    }
    // Moving a card that has the focus would take it away.
    const elements = wanted.map((each) => cards.get(each.id).element);
    if (elements.length !== list.children.length || elements.some((each, at) => list.children[at] !== each)) fill(list, elements);
  }

  function segment(name, label) {
    const chosen = name === show;
    const click = () => {
      show = name;
      remember({ show: show === "all" ? "" : show });
      draw();
    };
    return h("button", { type: "button", "aria-pressed": String(chosen), on: { click } }, label);
  }

  function noSession() {
    return stateBox(
      "empty",
      "No session yet.",
      "A session names the requests to capture, why, and until when. It ends by itself.",
      may("start") && h("a", { class: "button primary", href: address("start") }, "Start the first"),
    );
  }

  const polling = polled(
    () => Promise.all([api.get("/sessions"), api.get("/nodes")]),
    2000,
    ([{ sessions: found }, { nodes: connected }]) => {
      sessions = found;
      nodes = connected;
      fill(lost);
      draw();
      fill(proxies, proxiesBox(nodes));
    },
    (error) => {
      if (sessions) fill(lost, h("p", { class: "banner bad", role: "alert" }, `${error.message} What is shown may be old.`));
      else fill(list, errorBox(error, () => polling.now()));
    },
  );

  const element = h(
    "div",
    { class: "page sessions" },
    h("div", { class: "page-head" }, h("h1", {}, "Sessions"), tabs, h("span", { class: "grow" }), start),
    lost,
    h("div", { class: "beside" }, h("section", { "aria-label": "Sessions" }, list), proxies),
  );
  return { element, close: () => polling.close() };
}

/** Whether a session may still capture. */
export function isLive(session) {
  return session.state === "active" || session.state === "waiting";
}

function proxiesBox(nodes) {
  const refused = nodes.filter((node) => node.nack).length;
  if (!nodes.length) {
    return [
      h("h2", {}, "No Envoy is connected"),
      h("p", {}, "Sessions wait for one. Give Envoy the tap slot and the cluster of this service, see ", h("code", {}, "envoy-configs/static/tap.yaml"), "."),
    ];
  }
  return [
    h("h2", {}, `${nodes.length} ${nodes.length === 1 ? "Envoy" : "Envoys"} connected`),
    h("p", {}, refused ? h("span", { class: "tone-bad" }, `${refused} refused the slot. `) : "All took the slot. ", h("a", { href: address("nodes") }, "Show them")),
  ];
}
