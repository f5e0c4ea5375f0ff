// A text field for a predicate: read by the service as it is typed, with the place of what is wrong.

import { debounced, fill, h, uniqueId } from "./dom.js";
import { around, read } from "./predicate.js";

/**
 * Return `{element, input, set(text)}`. `valid` is called with the text and what the service read in it, `invalid` with
 * the error. `isEmpty(text)` texts are valid and not asked about. `stored`: it is a filter of what is stored.
 */
export function predicateField({ api, label, value = "", placeholder = "", rows = 1, ms = 200, optional = false, stored = false, valid, invalid = () => {} }) {
  const id = uniqueId("predicate");
  const says = h("div", { id: `${id}-says`, class: "says", role: "status" });
  const shared = { id, placeholder, spellcheck: "false", autocomplete: "off", autocapitalize: "off", "aria-describedby": says.id };
  const input = rows > 1 ? h("textarea", { ...shared, rows }) : h("input", { type: "text", ...shared });
  let asked = new AbortController();

  const check = async () => {
    asked.abort();
    asked = new AbortController();
    const text = input.value.trim();
    const { signal } = asked;
    if (!text && optional) {
      good();
      return valid("", null);
    }
    try {
      const found = await read(api, text, signal, stored);
      if (!found) return undefined;
      good();
      return valid(text, found);
    } catch (error) {
      if (!signal.aborted) bad(text, error);
    }
    return undefined;
  };
  const later = debounced(check, ms);
  input.addEventListener("input", () => {
    asked.abort();
    later();
  });

  function good() {
    input.removeAttribute("aria-invalid");
    fill(says);
  }

  function bad(text, error) {
    input.setAttribute("aria-invalid", "true");
    const [before, word, after] = around(text, error);
    const place = error.status === 422 && h("code", { class: "where" }, before.slice(-40), h("mark", {}, word), after.slice(0, 40));
    const message = error.message.replace(/^\d+:\d+: /, "");
    fill(says, place, h("span", { class: "problem" }, message, error.hint ? `; ${error.hint}` : ""));
    invalid(error);
  }

  function set(text, quiet = false) {
    input.value = text;
    if (!quiet) check();
  }
  set(value, true);
  return { element: h("div", { class: "field predicate-field" }, h("label", { for: id }, label), input, says), input, set, check };
}
