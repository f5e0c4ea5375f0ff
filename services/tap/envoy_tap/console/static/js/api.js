// The session API: the bearer token goes in a header that only this page sets, so there is no cookie to be abused.

const PREFIX = "/api/v1";
const KEY = "envoy-tap-token";
// The service says something every five seconds.
const SILENCE_MS = 16_000;

/** What the service refused, in its own words; `status` 0: it did not answer. */
export class ApiError extends Error {
  constructor(status, { message, hint, path, ...more }) {
    super(message);
    Object.assign(this, { status, hint, path, more });
  }

  get isUnreachable() {
    return this.status === 0;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

export class Api {
  /** `signedOut` is called with the refusal when the token is not, or no longer, good. */
  constructor(signedOut) {
    this.signedOut = signedOut;
  }

  get(path, query, signal) {
    return this.#json("GET", path, { query, signal });
  }

  post(path, data, signal) {
    return this.#json("POST", path, { data, signal });
  }

  delete(path) {
    return this.#json("DELETE", path, {});
  }

  /** Return an attachment's blob and file name; its type is never one that a browser would run. */
  async file(path, query) {
    const answer = await this.#ask("GET", path, { query });
    const named = /filename="([^"]*)"/.exec(answer.headers.get("content-disposition") ?? "");
    const name = (named?.[1] ?? "").replace(/[^A-Za-z0-9._-]/g, "_").replace(/^\.+/, "");
    // A blob may be kept on disk by the browser, as an export can be large.
    const blob = await answer.blob().catch(() => {
      throw unreachable();
    });
    return { blob: blob.slice(0, blob.size, "application/octet-stream"), name: name || "exchanges" };
  }

  async text(path, query) {
    return (await this.#ask("GET", path, { query })).text();
  }

  /** Yield server-sent events as `{name, data}` until the stream ends; a silent one is an unreachable service. */
  async *events(path, query, signal) {
    const own = new AbortController();
    const stop = () => own.abort();
    signal.addEventListener("abort", stop);
    let timer = setTimeout(stop, SILENCE_MS);
    try {
      const answer = await this.#ask("GET", path, { query, signal: own.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(stop, SILENCE_MS);
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const event = parsed(block);
          if (event) yield event;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error instanceof ApiError ? error : unreachable();
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      own.abort();
    }
  }

  async #json(method, path, options) {
    const answer = await this.#ask(method, path, options);
    return answer.status === 204 ? {} : answer.json();
  }

  async #ask(method, path, { query, data, signal }) {
    const url = new URL(PREFIX + path, location.origin);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
    }
    const headers = { accept: "application/json, text/event-stream;q=0.9, */*;q=0.8" };
    const held = token.get();
    if (held) headers.authorization = `Bearer ${held}`;
    if (data !== undefined) headers["content-type"] = "application/json";
    let answer;
    try {
      answer = await fetch(url, {
        method,
        headers,
        signal,
        body: data === undefined ? undefined : JSON.stringify(data),
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw unreachable();
    }
    if (answer.ok) return answer;
    const refusal = await refused(answer);
    if (answer.status === 401) this.signedOut(refusal);
    throw refusal;
  }
}

function unreachable() {
  return new ApiError(0, { message: "The tap service does not answer.", hint: "It is tried again by itself; see that it runs." });
}

async function refused(answer) {
  const fallback = { message: `The service answered ${answer.status} ${answer.statusText}`.trim() };
  try {
    return new ApiError(answer.status, (await answer.json()).error ?? fallback);
  } catch {
    return new ApiError(answer.status, fallback);
  }
}

function parsed(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}
