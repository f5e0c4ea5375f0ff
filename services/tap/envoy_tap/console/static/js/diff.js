// What differs between two lists of lines: the shortest edit (Myers, 1986), within bounds.

const MOST_EDITS = 1000;

/** Return `[" " | "-" | "+", line]` in order. What would take too many edits is all taken out and put in. */
export function diff(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
  const middle = edits(before.slice(start, before.length - end), after.slice(start, after.length - end));
  const same = (lines) => lines.map((line) => [" ", line]);
  return [...same(before.slice(0, start)), ...middle, ...same(before.slice(before.length - end))];
}

function edits(a, b) {
  const all = [...a.map((line) => ["-", line]), ...b.map((line) => ["+", line])];
  if (!a.length || !b.length) return all;
  const most = Math.min(a.length + b.length, MOST_EDITS);
  const furthest = new Int32Array(2 * most + 3);
  const trace = [];
  for (let d = 0; d <= most; d += 1) {
    trace.push(furthest.slice());
    for (let k = -d; k <= d; k += 2) {
      const isDown = k === -d || (k !== d && furthest[most + k] < furthest[most + k + 2]);
      let x = isDown ? furthest[most + k + 2] : furthest[most + k] + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      furthest[most + k + 1] = x;
      if (x >= a.length && x - k >= b.length) return walked(trace, a, b, most);
    }
  }
  return all;
}

function walked(trace, a, b, most) {
  const found = [];
  let x = a.length;
  let y = b.length;
  for (let d = trace.length - 1; d >= 0; d -= 1) {
    const furthest = trace[d];
    const k = x - y;
    const isDown = k === -d || (k !== d && furthest[most + k] < furthest[most + k + 2]);
    const from = isDown ? k + 1 : k - 1;
    const fromX = d ? furthest[most + from + 1] : 0;
    const fromY = d ? fromX - from : 0;
    while (x > fromX && y > fromY && (d === 0 || x > (isDown ? fromX : fromX + 1))) {
      x -= 1;
      y -= 1;
      found.push([" ", a[x]]);
    }
    if (!d) break;
    if (isDown) found.push(["+", b[(y -= 1)]]);
    else found.push(["-", a[(x -= 1)]]);
  }
  return found.reverse();
}
