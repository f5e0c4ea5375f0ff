// The view is in the URL's fragment, which no server and no log ever sees: a filter may name a secret.

/** Return `{page, id, view}` of the address: `#/s/0123456789ab?filter=status%3D5xx`. */
export function route() {
  const [path, query] = split(location.hash.replace(/^#/, ""), "?");
  const [, page = "", id = ""] = path.split("/");
  return { page: page || "sessions", id: decode(id), view: new URLSearchParams(query) };
}

/** Return the address of a page. */
export function address(page, id = "", view = {}) {
  const query = new URLSearchParams(Object.entries(view).filter(([, value]) => value !== "" && value !== undefined && value !== null));
  const path = id ? `#/${page}/${encodeURIComponent(id)}` : `#/${page}`;
  return query.size ? `${path}?${query}` : path;
}

export function go(page, id, view) {
  location.hash = address(page, id, view);
}

/** Change what the address says about the view, without a new entry in the history. */
export function remember(changes) {
  const { page, id, view } = route();
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === undefined || value === null || value === false) view.delete(name);
    else view.set(name, value === true ? "1" : value);
  }
  history.replaceState(null, "", address(page, id, Object.fromEntries(view)));
}

function split(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
