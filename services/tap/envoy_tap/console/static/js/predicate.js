// The predicate language from the page's side: it writes it, and asks the service to read it. There is one reader.

const BARE = /^[A-Za-z0-9_.\/*{}:@%+,;=?&~-]+$/;

/** Return a value as the language takes it: bare if it can be, else in quotes. */
export function quoted(text) {
  return BARE.test(text) ? text : inQuotes(text);
}

function inQuotes(text) {
  const escapes = { "\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  return `"${text.replace(/[\\"\n\r\t]/g, (char) => escapes[char])}"`;
}

/** Return the predicate of what a target builder holds. */
export function written({ method, authority, pathOp, path, headers = [], status, latency, grpc, sample }) {
  const terms = [];
  if (method) terms.push(`method = ${quoted(method)}`);
  if (authority) terms.push(`authority = ${quoted(authority)}`);
  if (path) terms.push(`path ${pathOp} ${quoted(path)}`);
  if (grpc) terms.push(`grpc.method = ${quoted(grpc)}`);
  for (const { name, op, value } of headers) {
    if (name) terms.push(op === "exists" ? `header[${inQuotes(name)}] exists` : `header[${inQuotes(name)}] ${op} ${inQuotes(value)}`);
  }
  if (status) terms.push(`status ${/^[<>=!]/.test(status) ? status : `= ${status}`}`);
  if (latency) terms.push(`latency > ${latency}`);
  if (sample) terms.push(`sample(${sample.endsWith("%") ? sample : `${sample}%`})`);
  return terms.join(" and ") || "all";
}

/** Return `predicate` narrowed by one more condition. */
export function narrowed(predicate, condition) {
  if (!predicate.trim() || predicate.trim() === "all") return condition;
  return /\bor\b/.test(predicate) ? `(${predicate}) and ${condition}` : `${predicate} and ${condition}`;
}

/** Ask the service what it reads in `text`, of a session or of what is `stored`: `{predicate, proxy, collector, warnings}`, or null once `signal` aborts. */
export async function read(api, text, signal, stored = false) {
  try {
    return await api.post(stored ? "/predicate?stored=1" : "/predicate", { predicate: text }, signal);
  } catch (error) {
    if (error.name === "AbortError") return null;
    throw error;
  }
}

/** Return where in `text` an error stands: the text before it, what it is about, and the rest. */
export function around(text, error) {
  const at = Math.min(error.more?.position ?? text.length, text.length);
  const word = /^\S*/.exec(text.slice(at))[0] || " ";
  return [text.slice(0, at), word, text.slice(at + word.length)];
}
