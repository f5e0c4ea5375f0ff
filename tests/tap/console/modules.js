// Run in the console's own page: what must hold of its diff and its JSON reader for any input. Returns what did not.
async (seed) => {
  const { diff } = await import("/console/js/diff.js");
  const { readJson } = await import("/console/js/json_text.js");
  const wrongs = [];
  let state = seed;
  const below = (most) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return Math.floor((state / 2147483648) * most);
  };
  const lines = () => Array.from({ length: below(9) }, () => "abc"[below(3)]);

  // The longest common subsequence, by the table: no shorter edit can be had.
  const common = (a, b) => {
    const table = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
    for (let i = 1; i <= a.length; i += 1) {
      for (let j = 1; j <= b.length; j += 1) {
        table[i][j] = a[i - 1] === b[j - 1] ? table[i - 1][j - 1] + 1 : Math.max(table[i - 1][j], table[i][j - 1]);
      }
    }
    return table[a.length][b.length];
  };
  for (let round = 0; round < 2000; round += 1) {
    const [a, b] = [lines(), lines()];
    const found = diff(a, b);
    const side = (sign) => found.filter(([each]) => each === " " || each === sign).map(([, line]) => line);
    const kept = found.filter(([each]) => each === " ").length;
    if (side("-").join() !== a.join() || side("+").join() !== b.join() || kept !== common(a, b)) wrongs.push(`diff ${a} ${b}`);
  }

  const value = (depth) => {
    const kind = below(depth > 4 ? 4 : 6);
    if (kind === 0) return below(1e9) - 5e8;
    if (kind === 1) return ['say "\\', "", "\u2028é", "}]"][below(4)];
    if (kind === 2) return [true, false, null][below(3)];
    if (kind === 3) return below(1000) / 64;
    if (kind === 4) return Array.from({ length: below(5) }, () => value(depth + 1));
    return Object.fromEntries(Array.from({ length: below(5) }, () => [`k${below(9)}"`, value(depth + 1)]));
  };
  const written = (node) => {
    if (!node.entries) return node.text;
    const inner = node.entries.map(([name, each]) => (name === null ? "" : `${name}:`) + written(each)).join(",");
    return node.kind === "object" ? `{${inner}}` : `[${inner}]`;
  };
  for (let round = 0; round < 300; round += 1) {
    const text = JSON.stringify(value(0));
    const read = readJson(text);
    if (read.problem || written(read.root) !== text) wrongs.push(`json ${text}`);
    // Cut off anywhere it is read up to there, and said to be cut unless what is left is whole by itself.
    const cut = text.slice(0, below(text.length));
    let isWhole = true;
    try {
      JSON.parse(cut);
    } catch {
      isWhole = false;
    }
    if (Boolean(readJson(cut).problem) === isWhole && !/[-+.eE]$/.test(cut)) wrongs.push(`cut ${cut}`);
  }
  if (readJson("[".repeat(200_000)).problem?.at !== 200_000) wrongs.push("depth");
  return wrongs;
};
