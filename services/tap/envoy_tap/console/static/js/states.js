// What is shown in place of data: loading, empty, an error. Each says what to do.

import { button, h } from "./dom.js";

/** Return a box of one state: `kind` is loading, empty or error. */
export function stateBox(kind, text, more, ...actions) {
  return h(
    "div",
    { class: `state ${kind}`, role: kind === "error" ? "alert" : "status" },
    kind === "loading" && h("span", { class: "spinner", "aria-hidden": "true" }),
    h("p", { class: "state-title" }, text),
    more && h("p", { class: "state-more" }, more),
    actions.length > 0 && h("div", { class: "actions" }, actions),
  );
}

/** Return the box of a refusal in the service's own words, with a way to try again. */
export function errorBox(error, again) {
  const where = error.path ? `${error.path}: ` : "";
  return stateBox("error", where + error.message, error.hint, again && button("Try again", { icon: "again" }, again));
}

/** Ask `ask` every `ms` while the page is seen; `took` gets its answer, `failed` its error. Returns `{now, close}`. */
export function polled(ask, ms, took, failed) {
  let timer = 0;
  let closed = false;
  let round = 0;
  const run = async () => {
    if (closed) return;
    clearTimeout(timer);
    round += 1;
    const mine = round;
    try {
      const answer = await ask();
      if (!closed && mine === round) took(answer);
    } catch (error) {
      if (!closed && mine === round) failed(error);
    }
    if (!closed && mine === round && !document.hidden) timer = setTimeout(run, ms);
  };
  const seen = () => !document.hidden && run();
  document.addEventListener("visibilitychange", seen);
  run();
  return {
    now: run,
    close() {
      closed = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
