// The top of a session's page: what it is, how much of it is used, and its end.

import { announce, button, fill, h } from "./dom.js";
import { dayAndTime } from "./format.js";
import { confirmed } from "./help.js";
import { address, go } from "./route.js";
import { approveButton, bars, nodeChip, nodesOf, people, stateChip } from "./session_card.js";
import { polled } from "./states.js";

export function sessionStrip({ api, may, changed }) {
  const element = h("header", { class: "strip" });
  let session = null;
  let nodes = [];

  const act = async (method, said) => {
    try {
      changed(await api.post(`/sessions/${session.id}/${method}`));
      announce(said);
    } catch (error) {
      announce(`${error.message}${error.hint ? `; ${error.hint}` : ""}`, "bad");
    }
  };

  async function remove() {
    const text = `“${session.why}” and ${session.counts?.captured ?? 0} captured exchanges are deleted for good.`;
    if (!(await confirmed("Delete this session?", text, "Delete it"))) return;
    try {
      await api.delete(`/sessions/${session.id}`);
      announce("Deleted.");
      go("sessions");
    } catch (error) {
      announce(error.message, "bad");
    }
  }

  const title = h("h1", {});
  const about = h("p", { class: "about" });
  const chip = h("span", {});
  const limits = h("div", { class: "bars" });
  const chips = h("div", { class: "chips", role: "list", "aria-label": "Proxies" });
  const actions = h("div", { class: "actions" });
  element.append(
    h("div", { class: "strip-line" }, h("a", { class: "button quiet", href: address("sessions"), "aria-label": "To all sessions", title: "To all sessions" }, "‹"), chip, title, actions),
    h("div", { class: "strip-line" }, about, chips),
    limits,
  );
  let before = "";

  function update(found) {
    session = found;
    title.textContent = title.title = session.why;
    document.title = `${session.why} · tap console`;
    fill(chip, stateChip(session));
    fill(about, h("code", { class: "predicate" }, session.predicate), h("span", { class: "hint" }, ` ${people(session)}, ${dayAndTime(session.created_at_s)}`));
    tick();
    const now = `${session.state} ${session.may}`;
    if (now !== before) {
      before = now;
      const isLive = ["active", "waiting"].includes(session.state);
      fill(
        actions,
        may("approve") && approveButton(session, () => act("approve", "Approved: it captures from now on.")),
        isLive && session.may.includes("stop") && button("Stop", { icon: "stop" }, () => act("stop", "Stopped; what it captured is kept.")),
        !isLive && may("start") && button("Start again", { icon: "again" }, () => go("start", "", { like: session.id })),
        session.may.includes("delete") && button("Delete", { icon: "trash" }, remove),
      );
    }
  }

  function tick() {
    if (!session) return;
    fill(limits, bars(session));
    fill(chips, nodesOf(session, nodes).map(nodeChip));
  }

  const timer = setInterval(tick, 1000);
  const polling = polled(() => api.get("/nodes"), 3000, (found) => (nodes = found.nodes), () => {});
  return { element, update, close: () => (clearInterval(timer), polling.close()) };
}
