// A session's exchanges as they come: first those that are stored, page by page, then live; again after an interruption.

const PAGE = 500;
const REST_AFTER_MS = 30_000;
const LONGEST_WAIT_MS = 10_000;

/**
 * Summaries of the exchanges that fulfil `filter`, ascending by seq, in `rows`.
 *
 * `told` has `rows()` (more have come), `session(data)` and `state(name, detail)`: loading, live, over, disconnected
 * (detail: the error), failed (detail: the error; it is not tried again), missing (the session is deleted).
 */
export class Feed {
  rows = [];
  state = "loading";
  #last = 0;
  #open = null;
  #hidden = 0;

  constructor(api, sessionId, filter, told) {
    Object.assign(this, { api, filter, told, path: `/sessions/${sessionId}` });
    this.seen = () => this.#seen();
  }

  open() {
    if (this.#open) return;
    this.#open = new AbortController();
    document.addEventListener("visibilitychange", this.seen);
    this.#run(this.#open.signal);
  }

  close() {
    document.removeEventListener("visibilitychange", this.seen);
    clearTimeout(this.#hidden);
    this.#rest();
  }

  /** Try again at once. */
  retry() {
    this.#rest();
    this.open();
  }

  #rest() {
    this.#open?.abort();
    this.#open = null;
  }

  // A page that nobody sees gives its connection back: browsers have six for a service, over all tabs.
  #seen() {
    clearTimeout(this.#hidden);
    if (document.hidden) this.#hidden = setTimeout(() => this.#rest(), REST_AFTER_MS);
    else this.open();
  }

  async #run(signal) {
    for (let waitMs = 1000; !signal.aborted; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
      try {
        if (!this.rows.length) this.#is("loading");
        await this.#catchUp(signal);
        this.#is("live");
        waitMs = 1000;
        if (await this.#follow(signal)) return;
      } catch (error) {
        if (signal.aborted) return;
        if (error.status === 404) return this.#is("missing", error);
        if (error.status >= 400 && error.status < 500 && error.status !== 429) return this.#is("failed", error);
        this.#is("disconnected", error);
      }
      await waited(waitMs, signal);
    }
  }

  async #catchUp(signal) {
    for (;;) {
      const query = { after: this.#last, limit: PAGE, filter: this.filter };
      const { exchanges, last, next } = await this.api.get(`${this.path}/exchanges`, query, signal);
      if (signal.aborted) return;
      this.#take(exchanges);
      // What was looked at and did not fit needs no second look.
      this.#last = Math.max(this.#last, next ?? last);
      if (next === null) return;
    }
  }

  /** Return whether the session is over and all of it told. */
  async #follow(signal) {
    let isOver = false;
    for await (const { name, data } of this.api.events(`${this.path}/watch`, { after: this.#last, filter: this.filter }, signal)) {
      if (name === "exchange") this.#take([data]);
      else if (name === "deleted") return this.#is("missing") ?? true;
      else if (name === "session") {
        isOver = data.state !== "active" && data.state !== "waiting";
        this.told.session(data);
      }
    }
    if (signal.aborted) return true;
    if (!isOver) {
      this.#is("disconnected", { message: "The tap service closed the stream.", hint: "It is tried again by itself." });
      return false;
    }
    await this.#catchUp(signal);
    this.#is("over");
    return true;
  }

  #take(found) {
    let more = 0;
    for (const row of found) {
      if (row.seq <= this.#last) continue;
      row.at = Date.parse(row.time);
      this.rows.push(row);
      this.#last = row.seq;
      more += 1;
    }
    if (more) this.told.rows();
  }

  #is(state, detail) {
    this.state = state;
    this.told.state(state, detail);
  }
}

function waited(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()));
  });
}
