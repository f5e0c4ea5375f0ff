// The target as a form: each field is one condition of the predicate that it writes.

import { button, fill, h, uniqueId } from "./dom.js";
import { written } from "./predicate.js";

const METHODS = ["", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
const PATH_OPS = { "^=": "begins with", "=": "is", like: "is like /a/{id}", "*=": "contains" };
const HEADER_OPS = { "=": "is", "*=": "contains", "^=": "begins with", exists: "is there" };

/** Return `{element}`; `changed` is called with the predicate at each change. */
export function targetBuilder(changed) {
  const headers = h("div", { class: "rows" });
  const fields = {
    method: select("Method", Object.fromEntries(METHODS.map((name) => [name, name || "any"]))),
    authority: text("Host (authority)", "shop.example"),
    pathOp: select("Path", PATH_OPS),
    path: text("Path, without the query", "/orders"),
    status: text("Response status", "5xx, 503 or >=400"),
    latency: text("Slower than", "250ms or 1.5s"),
    grpc: text("gRPC method", "shop.v1.Cart/Add"),
    sample: text("Sample, percent", "10"),
  };

  const tell = () => {
    const values = Object.fromEntries(Object.entries(fields).map(([name, { input }]) => [name, input.value.trim()]));
    const rows = [...headers.children].map((row) => {
      const [name, op, value] = row.querySelectorAll("input, select");
      value.disabled = op.value === "exists";
      return { name: name.value.trim().toLowerCase(), op: op.value, value: value.value };
    });
    changed(written({ ...values, headers: rows }));
  };

  function addHeader() {
    const row = h(
      "div",
      { class: "row header-row" },
      h("input", { type: "text", "aria-label": "Header name", placeholder: "x-user", spellcheck: "false" }),
      h("select", { "aria-label": "Comparison" }, Object.entries(HEADER_OPS).map(([value, label]) => h("option", { value }, label))),
      h("input", { type: "text", "aria-label": "Header value", placeholder: "alice", spellcheck: "false" }),
      button("Remove this header", { icon: "close", kind: "quiet", text: false }, () => {
        row.remove();
        tell();
      }),
    );
    headers.append(row);
    row.firstChild.focus();
  }

  const element = h(
    "fieldset",
    { class: "builder", on: { input: tell, change: tell } },
    h("legend", {}, "Target"),
    h("div", { class: "grid2" }, fields.method.element, fields.authority.element),
    h("div", { class: "grid-path" }, fields.pathOp.element, fields.path.element),
    h("div", { class: "grid2" }, fields.status.element, fields.latency.element),
    h("details", {}, h("summary", {}, "Headers, gRPC, sampling"), h("div", { class: "grid2" }, fields.grpc.element, fields.sample.element), headers, button("Add a header", { icon: "plus" }, addHeader)),
  );
  const clear = () => {
    for (const { input } of Object.values(fields)) input.value = input.tagName === "SELECT" ? input.options[0].value : "";
    fill(headers);
  };
  return { element, clear };
}

function text(label, placeholder) {
  const id = uniqueId("target");
  const input = h("input", { id, type: "text", placeholder, spellcheck: "false", autocomplete: "off" });
  return { input, element: h("div", { class: "field" }, h("label", { for: id }, label), input) };
}

function select(label, options) {
  const id = uniqueId("target");
  const input = h("select", { id }, Object.entries(options).map(([value, name]) => h("option", { value }, name)));
  return { input, element: h("div", { class: "field" }, h("label", { for: id }, label), input) };
}
