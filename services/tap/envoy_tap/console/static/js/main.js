// The console's frame: who is signed in, which page is shown, and what every page has.

import { Api, token } from "./api.js";
import { button, fill, h, icon } from "./dom.js";
import { exchangesPage } from "./exchanges_page.js";
import { shortcutsDialog } from "./help.js";
import { nodesPage } from "./nodes_page.js";
import { address, route } from "./route.js";
import { sessionsPage } from "./sessions_page.js";
import { signInPage } from "./sign_in.js";
import { startPage } from "./start_page.js";
import { stateBox } from "./states.js";
import { applyTheme, nextTheme, themeName } from "./theme.js";

const PAGES = { sessions: sessionsPage, start: startPage, session: exchangesPage, nodes: nodesPage };
const TITLES = { sessions: "Sessions", start: "Start a session", session: "Exchanges", nodes: "Proxies" };

const app = document.getElementById("app");
let me = null;
let shown = { close() {} };

const api = new Api((refusal) => {
  // Only a token that was good before is news.
  if (me) signIn({ refusal, was: "Your token is no longer valid. Sign in again; this view stays." });
});

function begin() {
  applyTheme();
  enter();
}

async function enter() {
  fill(app, h("main", { class: "centre" }, stateBox("loading", "Asking the tap service who you are…")));
  try {
    me = await api.get("/whoami");
    frame();
  } catch (error) {
    if (error.isUnreachable) {
      fill(app, h("main", { class: "centre" }, stateBox("error", error.message, error.hint, button("Try again", { kind: "primary" }, enter))));
    } else {
      signIn({ refusal: error });
    }
  }
}

function signIn({ refusal, was }) {
  shown.close();
  shown = { close() {} };
  me = null;
  const had = token.get();
  token.clear();
  document.title = "Sign in · tap console";
  fill(app, signInPage({ refusal, note: was ?? (had ? "That token is not valid." : ""), enter: (value) => (token.set(value), enter()) }));
}

function frame() {
  const place = h("main", { id: "page", tabindex: "-1" });
  const links = ["sessions", "nodes"].map((page) => h("a", { href: address(page), "data-page": page }, TITLES[page]));
  const theme = button(themeName(), { icon: "theme", kind: "quiet", text: false }, () => {
    nextTheme();
    theme.setAttribute("aria-label", themeName());
    theme.title = themeName();
  });
  fill(
    app,
    h("a", { class: "skip", href: "#page", on: { click: (event) => (event.preventDefault(), place.focus()) } }, "Skip to the page"),
    h(
      "header",
      { class: "bar" },
      h("a", { class: "brand", href: address("sessions") }, icon("mark"), "tap"),
      h("nav", { "aria-label": "Pages" }, links),
      h("span", { class: "grow" }),
      h("span", { class: "who", title: `may ${(me.may ?? []).join(", ") || "look"}` }, me.name, h("span", { class: "role" }, me.role)),
      button("Keyboard shortcuts", { icon: "help", kind: "quiet", text: false }, shortcutsDialog),
      theme,
      token.get() && button("Sign out", { icon: "leave", kind: "quiet", text: false }, () => (token.clear(), location.reload())),
    ),
    place,
  );
  const show = () => {
    const { page, id, view } = route();
    const make = PAGES[page] ?? sessionsPage;
    shown.close();
    document.title = `${TITLES[page] ?? "Sessions"} · tap console`;
    for (const link of links) {
      if (link.dataset.page === (page === "nodes" ? "nodes" : "sessions")) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    shown = make({ api, me, id, view, may: (what) => (me.may ?? []).includes(what) });
    fill(place, shown.element);
    shown.shown?.();
  };
  onhashchange = () => me && show();
  show();
}

begin();
