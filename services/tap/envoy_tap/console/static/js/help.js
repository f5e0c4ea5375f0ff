// The keys, and the predicate language on one page.

import { button, h } from "./dom.js";

const KEYS = [
  ["↑ ↓ or k j", "the exchange before, after"],
  ["Home, End, PgUp, PgDn", "first, last, a page"],
  ["Enter", "open it"],
  ["Esc", "close it"],
  ["x", "select it, for an export or a comparison"],
  ["p", "pin it above the list"],
  ["d", "compare with it: open another to see what differs"],
  ["c", "copy it as curl"],
  ["f", "follow what comes"],
  ["Space", "pause the list"],
  ["/", "to the filter"],
  ["e", "export"],
  ["?", "this help"],
];

const FIELDS = [
  ["method=POST", "authority=shop.example"],
  ["path=/orders", "path^=/orders  begins"],
  ["path*=refund  contains", 'path~"/o/[0-9]+"  RE2'],
  ["path like /orders/{id}", "status=5xx   status>=400"],
  ["header[x-user]=alice", "response.header[etag] exists"],
  ["latency>250ms", "grpc.method^=shop.v1."],
  ["grpc.status=UNAVAILABLE", "source.address=10.0.0.0/8"],
  ["body*=tea", 'request.json["order.id"]=7'],
  ["trace_id=4bf92f…", "sample(1%)   first(100)"],
];

/** Show a dialog with a title; returns it. Esc closes it, and the focus goes back to where it was. */
export function dialog(title, ...content) {
  const box = h("dialog", { class: "dialog", "aria-label": title });
  box.append(
    h("div", { class: "dialog-head" }, h("h2", {}, title), button("Close", { icon: "close", kind: "quiet", text: false }, () => box.close())),
    h("div", { class: "dialog-body" }, ...content),
  );
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

export function shortcutsDialog() {
  dialog(
    "Keys and filters",
    h("h3", {}, "In the list of exchanges"),
    h("dl", { class: "keys" }, KEYS.map(([key, what]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)))),
    h("h3", {}, "Conditions, combined by and, or, not and parentheses"),
    h("pre", { class: "fields", tabindex: "0" }, FIELDS.map((pair) => pair[0].padEnd(30) + pair[1]).join("\n")),
  );
}

/** Ask whether to do what can't be undone; resolves to true only for the button that says it. */
export function confirmed(title, text, act) {
  return new Promise((resolve) => {
    let answer = false;
    const box = dialog(
      title,
      h("p", {}, text),
      h(
        "div",
        { class: "actions" },
        button("Cancel", { autofocus: true }, () => box.close()),
        button(act, { kind: "danger" }, () => ((answer = true), box.close())),
      ),
    );
    box.addEventListener("close", () => resolve(answer));
  });
}
