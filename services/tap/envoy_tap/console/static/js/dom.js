// Elements from data. Text is only ever text: no markup is made of strings anywhere in the console.

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  mark: "M3 13h4l3-7 5 13 3-6h3",
  plus: "M12 5v14M5 12h14",
  stop: "M7 7h10v10H7z",
  trash: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10 11v5M14 11v5",
  check: "M5 13l4 4L19 7",
  close: "M6 6l12 12M18 6L6 18",
  pause: "M9 6v12M15 6v12",
  play: "M8 5l11 7-11 7z",
  follow: "M12 4v12M6 11l6 6 6-6M5 20h14",
  pin: "M9 4h6l-1 6 3 3H7l3-3-1-6M12 13v7",
  copy: "M9 9h10v11H9zM5 15V4h10",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  previous: "M15 6l-6 6 6 6",
  next: "M9 6l6 6-6 6",
  replay: "M4 12a8 8 0 1 0 3-6M4 4v4h4",
  compare: "M9 4v16M15 4v16M4 8h5M4 12h5M15 12h5M15 16h5",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  leave: "M14 5h5v14h-5M4 12h10M10 8l4 4-4 4",
  help: "M9 9a3 3 0 1 1 4 3c-1 .5-1 1-1 2M12 18v.5",
  filter: "M4 5h16l-6 7v6l-4 2v-8z",
  again: "M4 12a8 8 0 1 0 3-6M4 4v4h4",
  back: "M19 12H5M11 6l-6 6 6 6",
};

/** Return a new element. `on` holds listeners, `style` CSS properties; booleans, numbers and functions are properties. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "style") {
      for (const [property, wanted] of Object.entries(value)) element.style.setProperty(property, wanted);
    } else if (value === true && name in element) {
      element[name] = true;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  return put(element, ...children);
}

/** Append children (elements, text, nested lists; null and false are left out) and return the element. */
export function put(element, ...children) {
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace all children of an element, and return it. */
export function fill(element, ...children) {
  element.replaceChildren();
  return put(element, ...children);
}

/** Return an icon, which says nothing to a screen reader: its button has a label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Return a button; without text its label is for screen readers and its tooltip. */
export function button(label, { icon: name, kind = "", text = true, hint, disabled, ...more }, click) {
  return h(
    "button",
    {
      type: "button",
      class: `button ${kind}`,
      disabled,
      title: hint ?? (text ? undefined : label),
      "aria-label": text ? undefined : label,
      ...more,
      on: { click },
    },
    name && icon(name),
    text && label,
  );
}

let ids = 0;

/** Return an id that no other element has. */
export function uniqueId(stem) {
  ids += 1;
  return `${stem}-${ids}`;
}

/** Say something to screen readers, and show it for a moment. */
export function announce(text, kind = "") {
  let place = document.getElementById("announcements");
  if (!place) {
    place = h("div", { id: "announcements", role: "status", "aria-live": "polite" });
    document.body.append(place);
  }
  const note = h("p", { class: `note ${kind}` }, text);
  place.append(note);
  setTimeout(() => note.remove(), 4000);
}

/** Call `run` once for many calls within `ms`. */
export function debounced(run, ms) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), ms);
  };
}
