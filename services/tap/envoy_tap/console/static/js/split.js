// The list and what is opened beside it, with a border to be moved by mouse or keys.

import { h } from "./dom.js";

const KEY = "envoy-tap-split";
const LEAST = 25;
const MOST = 75;

/** Return `{element, open(bool)}`; `second` takes no room while it is not open. */
export function split(first, second) {
  const border = h("div", { class: "border", role: "separator", tabindex: "0", "aria-label": "Width of the exchange", "aria-orientation": "vertical", "aria-valuemin": LEAST, "aria-valuemax": MOST });
  const element = h("div", { class: "split" }, first, border, second);
  let percent = Number(localStorage.getItem(KEY)) || 50;
  const set = (wanted) => {
    percent = Math.min(MOST, Math.max(LEAST, wanted));
    element.style.setProperty("--second", `${percent}%`);
    border.setAttribute("aria-valuenow", String(Math.round(percent)));
    localStorage.setItem(KEY, String(percent));
  };
  border.addEventListener("pointerdown", (event) => {
    border.setPointerCapture(event.pointerId);
    border.onpointermove = ({ clientX }) => {
      const { left, width } = element.getBoundingClientRect();
      set(100 - (100 * (clientX - left)) / width);
    };
  });
  border.addEventListener("pointerup", () => (border.onpointermove = null));
  border.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: 4, ArrowRight: -4 }[event.key];
    if (by) (event.preventDefault(), set(percent + by));
  });
  const open = (isOpen) => {
    element.classList.toggle("is-open", isOpen);
    border.hidden = second.hidden = !isOpen;
  };
  set(percent);
  open(false);
  return { element, open };
}
