// One exchange beside the list: its line, what can be done with it, and its tabs.

import { announce, button, fill, h } from "./dom.js";
import { statusText, statusTone } from "./columns.js";
import { compareTab } from "./compare_tab.js";
import { copyText, replayDialog } from "./exchange_acts.js";
import { headersTab, overviewTab, redactionTab, storedTab } from "./exchange_tabs.js";
import { remember, route } from "./route.js";
import { errorBox, stateBox } from "./states.js";

const MOST_HELD = 30;

/** Return `{element, show(seq, versus), copy(seq), close()}`; `acts` is what the page does for it. */
export function exchangePane({ api, may, id, acts }) {
  const element = h("section", { class: "pane", "aria-label": "The exchange" });
  const held = new Map();
  let current = 0;
  let tab = route().view.get("tab") ?? "overview";

  async function get(seq) {
    if (!held.has(seq)) held.set(seq, await api.get(`/sessions/${id}/exchanges/${seq}`));
    if (held.size > MOST_HELD) held.delete(held.keys().next().value);
    return held.get(seq);
  }

  async function show(seq, versus) {
    current += 1;
    const mine = current;
    const focused = element.contains(document.activeElement) ? named(document.activeElement) : "";
    // What is still shown is another exchange: nothing shall be done with it by mistake.
    element.inert = true;
    const slow = setTimeout(() => mine === current && fill(element, head({ seq }), stateBox("loading", "Loading the exchange…")), 150);
    try {
      const [found, other] = await Promise.all([get(seq), versus ? get(versus) : null]);
      if (mine === current) draw(found, other);
    } catch (error) {
      if (mine === current) fill(element, head({ seq }), errorBox(error, () => show(seq, versus)));
    } finally {
      clearTimeout(slow);
      if (mine === current) {
        element.inert = false;
        // Who steps through exchanges by a button stays on it.
        if (focused) [...element.querySelectorAll("button")].find((each) => named(each) === focused)?.focus();
      }
    }
  }

  function draw(found, other) {
    const { summary } = found;
    const tabs = tabsOf(found, other);
    const names = Object.keys(tabs);
    const chosen = names.includes(tab) ? tab : "overview";
    const list = h("div", { class: "tabs", role: "tablist", "aria-label": "Parts of the exchange" });
    const panel = h("div", { class: "tab-panel", role: "tabpanel", id: "tab-panel", tabindex: "0" });
    const pick = (name) => {
      tab = name;
      remember({ tab: name === "overview" ? "" : name });
      for (const each of list.children) {
        each.setAttribute("aria-selected", String(each.dataset.tab === name));
        each.tabIndex = each.dataset.tab === name ? 0 : -1;
      }
      panel.setAttribute("aria-labelledby", `tab-${name}`);
      fill(panel, tabs[name].view());
      panel.scrollTop = 0;
    };
    for (const name of names) {
      list.append(h("button", { type: "button", role: "tab", id: `tab-${name}`, "data-tab": name, "aria-controls": "tab-panel", on: { click: () => pick(name) } }, tabs[name].label));
    }
    list.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const next = names[(names.indexOf(tab in tabs ? tab : "overview") + by + names.length) % names.length];
      pick(next);
      list.querySelector(`[data-tab="${next}"]`).focus();
    });
    fill(element, head(summary), list, panel);
    pick(chosen);
  }

  function tabsOf(found, other) {
    const { exchange, decoded = {} } = found;
    const redactions = found.redactions ?? [];
    const tabs = {
      overview: { label: "Overview", view: () => overviewTab(found, acts) },
      request: { label: "Request", view: () => headersTab(exchange.request, decoded?.request, exchange, acts, "header") },
      response: { label: "Response", view: () => headersTab(exchange.response, decoded?.response, exchange, acts, "response.header") },
      redaction: { label: ["Redaction", redactions.length > 0 && h("span", { class: "badge" }, redactions.length)], view: () => redactionTab(found, acts.session()) },
      stored: { label: "As stored", view: () => storedTab(exchange) },
    };
    if (other) tabs.compare = { label: `Compare with #${other.summary.seq}`, view: () => compareTab(other, found) };
    return tabs;
  }

  function head(summary) {
    const { seq } = summary;
    const line = summary.method !== undefined && [
      h("span", { class: `chip tone-${statusTone(summary)}` }, statusText(summary)),
      h("h2", {}, h("span", { class: "method" }, summary.method ?? "–"), " ", h("span", { class: "url" }, `${summary.authority ?? ""}${summary.path ?? ""}`)),
    ];
    return h(
      "div",
      { class: "pane-head" },
      h("div", { class: "pane-line" }, h("span", { class: "hint" }, `#${seq}`), line || h("span", { class: "grow" }), button("Close", { icon: "close", kind: "quiet", text: false }, acts.close)),
      h(
        "div",
        { class: "actions" },
        button("Previous exchange", { icon: "previous", kind: "quiet", text: false }, () => acts.step(-1)),
        button("Next exchange", { icon: "next", kind: "quiet", text: false }, () => acts.step(1)),
        button("Pin", { icon: "pin" }, () => acts.pin(seq)),
        button("Compare", { icon: "compare", hint: "Compare with the next one you open" }, () => acts.compare(seq)),
        button("Copy as curl", { icon: "copy" }, () => copy(seq)),
        button("Export", { icon: "download" }, acts.export),
        may("replay") && button("Replay", { icon: "replay" }, () => replayDialog({ api, id, summary })),
      ),
    );
  }

  async function copy(seq) {
    try {
      await copyText(await api.text(`/sessions/${id}/export`, { format: "curl", seq }), `#${seq} is copied as curl; what was redacted is still missing in it.`);
    } catch (error) {
      announce(`It can't be copied: ${error.message}`, "bad");
    }
  }

  return { element, show, copy, close: () => (current += 1) };
}

function named(element) {
  return element.getAttribute("aria-label") ?? element.textContent;
}
