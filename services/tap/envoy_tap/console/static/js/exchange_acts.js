// What is done with one exchange: copied, replayed.

import { bodyView } from "./body_view.js";
import { announce, button, fill, h } from "./dom.js";
import { duration } from "./format.js";
import { dialog } from "./help.js";
import { readJson } from "./json_text.js";
import { jsonView } from "./json_view.js";

/** Put text on the clipboard; where the browser forbids that (plain HTTP to another machine), show it to be taken. */
export async function copyText(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    announce(said);
  } catch {
    const field = h("textarea", { class: "take", rows: 12, readonly: true, "aria-label": "The text to copy" });
    field.value = text;
    dialog("Copy this", h("p", { class: "hint" }, "This browser gives no page of plain HTTP its clipboard."), field);
    field.select();
  }
}

function answered({ response, decoded, truncated, took_ms: tookMs, captured_status: captured, same_body: isSame }) {
  const before = captured === null ? "nothing was captured" : `${captured} was captured`;
  return [
    h("p", {}, h("strong", {}, `It answered ${response.status ?? "without a status"}`), ` in ${duration(tookMs)}; ${before}. The body is ${isSame ? "the same." : "another."}`),
    bodyView(response, decoded, truncated),
    h("h3", {}, "Headers"),
    jsonView(readJson(JSON.stringify(response.headers))),
  ];
}

/** Ask where an exchange is to be sent again, and show what came of it. */
export function replayDialog({ api, id, summary }) {
  const target = h("input", { id: "replay-to", type: "url", placeholder: "http://127.0.0.1:8000", spellcheck: "false" });
  const answer = h("div", { class: "replayed", role: "status" });
  const send = async (force) => {
    fill(answer, "Sending…");
    const asked = { to: target.value.trim(), ...(force ? { force } : {}) };
    try {
      const found = await api.post(`/sessions/${id}/exchanges/${summary.seq}/replay`, asked);
      fill(answer, answered(found.answer), h("h3", {}, "Sent was"), jsonView(readJson(JSON.stringify(found.sent))));
    } catch (error) {
      // What is not as it was captured is sent only if one wants it even so.
      if (error.status === 409) fill(answer, h("p", { class: "notice" }, error.message), button("Send it even so", { kind: "danger" }, () => send(true)));
      else fill(answer, h("p", { class: "problem", role: "alert" }, `${error.message}${error.hint ? `; ${error.hint}` : ""}`));
    }
  };
  const isSafe = ["GET", "HEAD", "OPTIONS"].includes(summary.method);
  dialog(
    `Send #${summary.seq} again`,
    h("p", {}, h("code", {}, `${summary.method} ${summary.path}`)),
    !isSafe && h("p", { class: "notice" }, `${summary.method} may change things where it is sent.`),
    h("p", { class: "hint" }, "Only to the targets that the service was started with (--replay-to)."),
    h("div", { class: "field" }, h("label", { for: "replay-to" }, "Target"), target),
    h("div", { class: "actions" }, button("Send it", { icon: "replay", kind: "primary" }, () => send(false))),
    answer,
  );
}
