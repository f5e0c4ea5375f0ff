// Reads JSON as it was written: numbers keep their digits, names their order and repetitions, and what was cut off is
// shown up to where it ends. No recursion: a body may be nested a hundred thousand deep.

const WORD = /-?[0-9][0-9.eE+-]*|true|false|null/y;
const SPACE = /[ \t\r\n]*/y;

/**
 * Return `{root, problem}`: `root` is `{kind, text, entries}` with kind object, array, string, number or word, and
 * entries `[name or null, node]`, all in the literals of the text; null if there is none. `problem` is null or
 * `{at, message}`.
 */
export function readJson(text) {
  const top = { kind: "top", entries: [] };
  const open = [top];
  let name = null;
  let expects = "value";
  let at = skipped(text, 0);
  const problem = (message) => ({ root: top.entries[0]?.[1] ?? null, problem: { at, message } });
  const add = (node) => {
    open[open.length - 1].entries.push([name, node]);
    name = null;
  };
  while (at < text.length) {
    const holder = open[open.length - 1];
    const char = text[at];
    if (holder === top && top.entries.length) return problem("it goes on after its end");
    if (char === (holder.kind === "object" ? "}" : "]") && holder !== top && expects !== "colon" && name === null && (expects !== "value" || !holder.entries.length)) {
      holder.isWhole = true;
      open.pop();
      expects = "comma";
      at += 1;
    } else if (expects === "comma") {
      if (char !== ",") return problem("a comma is missing here");
      expects = holder.kind === "object" ? "name" : "value";
      at += 1;
    } else if (expects === "colon") {
      if (char !== ":") return problem("a colon is missing here");
      expects = "value";
      at += 1;
    } else if (char === '"') {
      const end = stringEnd(text, at);
      const literal = text.slice(at, end < 0 ? text.length : end);
      if (expects === "name") {
        name = literal;
        expects = "colon";
      } else {
        add({ kind: "string", text: literal });
        expects = "comma";
      }
      if (end < 0) return (at = text.length), problem("it is cut off here");
      at = end;
    } else if (expects === "name") {
      return problem("a name in quotes is missing here");
    } else if (char === "{" || char === "[") {
      const node = { kind: char === "{" ? "object" : "array", entries: [], isWhole: false };
      add(node);
      open.push(node);
      expects = char === "{" ? "name" : "value";
      at += 1;
    } else {
      WORD.lastIndex = at;
      const word = WORD.exec(text)?.[0];
      if (!word) return problem("this is no value");
      add({ kind: /^[tfn]/.test(word) ? "word" : "number", text: word });
      expects = "comma";
      at += word.length;
    }
    at = skipped(text, at);
  }
  if (open.length > 1 || !top.entries.length) return problem("it is cut off here");
  return { root: top.entries[0][1], problem: null };
}

function skipped(text, at) {
  SPACE.lastIndex = at;
  return at + SPACE.exec(text)[0].length;
}

function stringEnd(text, start) {
  for (let at = start + 1; ; at += 1) {
    at = text.indexOf('"', at);
    if (at < 0) return -1;
    let before = at - 1;
    while (text[before] === "\\") before -= 1;
    if ((at - before) % 2) return at + 1;
  }
}
