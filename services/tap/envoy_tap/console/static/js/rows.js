// What the list shows of a feed: in which order, and whether it stands still.

/** The rows of a feed, in the order they came or sorted by a column; a frozen one does not grow. */
export class Rows {
  #feed = { rows: [] };
  #order = null;
  #taken = 0;
  #compare = null;
  #frozen = null;

  /** Show another feed. */
  of(feed) {
    this.#feed = feed;
    this.#taken = 0;
    if (this.#compare) this.#order = [];
    if (this.#frozen !== null) this.#frozen = feed.rows.length;
    this.refresh();
  }

  /** Sort by `value(row)`, or by arrival for null. */
  sortBy(value, descending = false) {
    const sign = descending ? -1 : 1;
    this.#compare = value && ((a, b) => sign * compared(value(a), value(b)) || a.seq - b.seq);
    this.#order = value ? [] : null;
    this.#taken = 0;
    this.refresh();
  }

  freeze(still) {
    this.#frozen = still ? this.#feed.rows.length : null;
    this.refresh();
  }

  /** Take in what has come since. */
  refresh() {
    const { rows } = this.#feed;
    if (!this.#compare || this.#taken >= this.#known) return;
    const more = rows.slice(this.#taken, this.#known).sort(this.#compare);
    this.#taken = this.#known;
    this.#order = merged(this.#order, more, this.#compare);
  }

  get #known() {
    return this.#frozen ?? this.#feed.rows.length;
  }

  get length() {
    return this.#order ? this.#order.length : this.#known;
  }

  /** How many have come that a frozen list does not show. */
  get waiting() {
    return this.#feed.rows.length - this.#known;
  }

  at(index) {
    return (this.#order ?? this.#feed.rows)[index];
  }

  /** Return the place of an exchange, -1 if it is not shown. */
  indexOf(seq) {
    if (this.#order) return this.#order.findIndex((row) => row.seq === seq);
    const { rows } = this.#feed;
    let low = 0;
    let high = this.#known - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (rows[middle].seq === seq) return middle;
      if (rows[middle].seq < seq) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }
}

function compared(a, b) {
  if (a === b) return 0;
  // What is missing comes last in ascending order.
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  return a < b ? -1 : 1;
}

function merged(left, right, compare) {
  if (!left.length) return right;
  const all = [];
  let at = 0;
  for (const row of right) {
    while (at < left.length && compare(left[at], row) <= 0) all.push(left[at++]);
    all.push(row);
  }
  return all.concat(left.slice(at));
}
