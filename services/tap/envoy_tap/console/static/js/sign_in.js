// Signing in with a token. A service without tokens on loopback asks for none: its own page on this machine is let in.

import { h, icon } from "./dom.js";
import { stateBox } from "./states.js";

/** Return the page; `enter` is called with the token that was given. `refusal` is what the service said. */
export function signInPage({ refusal, note, enter }) {
  return h(
    "main",
    { class: "centre" },
    h(
      "section",
      { class: "panel sign-in" },
      h("h1", { class: "brand" }, icon("mark"), "tap console"),
      note && h("p", { class: "notice", role: "alert" }, note),
      refusal.status === 401 ? tokenForm(enter) : stateBox("error", refusal.message, refusal.hint),
    ),
  );
}

function tokenForm(enter) {
  const field = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const problem = h("p", { class: "problem", role: "alert" });
  const submit = (event) => {
    event.preventDefault();
    const value = field.value.trim();
    // What no header can carry is no token.
    if (/^[\x21-\x7e]+$/.test(value)) enter(value);
    else problem.textContent = "A token is one word of visible characters.";
  };
  queueMicrotask(() => field.focus());
  return h(
    "form",
    { on: { submit } },
    h("label", { for: "token" }, "Token"),
    field,
    problem,
    h("button", { class: "button primary", type: "submit" }, "Sign in"),
    h("p", { class: "hint" }, "One of those in the service's ", h("code", {}, "--tokens"), " file. It is kept in this tab only, and goes when the tab is closed."),
  );
}
