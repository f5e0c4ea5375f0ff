// Taking exchanges out: which, and in which form.

import { announce, fill, h } from "./dom.js";
import { count } from "./format.js";
import { dialog } from "./help.js";

const FORMATS = {
  har: ["HAR 1.2", "for a browser's network panel and most tools"],
  jsonl: ["JSON lines", "as stored, one exchange a line"],
  curl: ["curl", "the requests, as commands"],
  raw: ["Raw HTTP", "requests and answers as on the wire"],
  pcapng: ["pcapng", "for Wireshark"],
  html: ["HTML report", "one page to hand on, nothing in it runs"],
};
const SUFFIXES = { har: "har", jsonl: "jsonl", curl: "sh", raw: "txt", pcapng: "pcapng", html: "html" };

export function exportDialog({ api, id, selected, opened, filter, shown }) {
  const scopes = [];
  if (selected.length) scopes.push(["selected", `${count(selected.length, "selected exchange")}`, { seq: ranges(selected) }]);
  if (opened !== null) scopes.push(["opened", `only #${opened}`, { seq: String(opened) }]);
  if (filter) scopes.push(["filtered", "all that the filter lets through", { filter }]);
  scopes.push(["all", `all of the session${filter ? "" : ` (${shown.toLocaleString("en")} shown)`}`, {}]);
  const problem = h("div", { class: "problem", role: "alert" });
  const save = h("button", { class: "button primary", type: "submit" }, "Save");

  async function submit(event) {
    event.preventDefault();
    const data = new FormData(form);
    const format = data.get("format");
    const [, , query] = scopes.find(([name]) => name === data.get("scope"));
    save.disabled = true;
    fill(problem);
    try {
      const { blob, name } = await api.file(`/sessions/${id}/export`, { format, ...query });
      saved(blob, name.includes(".") ? name : `tap-${id}.${SUFFIXES[format]}`);
      announce("Saved.");
      box.close();
    } catch (error) {
      fill(problem, error.message, error.hint ? `; ${error.hint}` : "");
      save.disabled = false;
    }
  }

  const form = h(
    "form",
    { on: { submit } },
    h("fieldset", {}, h("legend", {}, "Which"), scopes.map(([name, label], at) => radio("scope", name, label, "", at === 0))),
    h("fieldset", {}, h("legend", {}, "As"), Object.entries(FORMATS).map(([name, [label, more]], at) => radio("format", name, label, more, at === 0))),
    h("p", { class: "hint" }, "What was redacted is in no export. The export is in the audit log."),
    problem,
    h("div", { class: "actions" }, save),
  );
  const box = dialog("Export", form);
}

function radio(group, value, label, more, checked) {
  const id = `${group}-${value}`;
  return h("label", { class: "check", for: id }, h("input", { id, type: "radio", name: group, value, checked }), label, more && h("span", { class: "hint" }, more));
}

function saved(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** 1, 2, 3, 7 → "1-3,7". */
export function ranges(numbers) {
  const found = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = found[found.length - 1];
    if (last && number === last[1] + 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(",");
}
