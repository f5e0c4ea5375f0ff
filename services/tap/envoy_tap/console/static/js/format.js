// Numbers and times as people read them.

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** 1536 → "1.5 KiB". */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let value = count;
  for (const unit of ["B", "KiB", "MiB"]) {
    if (value < 1024) return `${unit === "B" || value >= 100 ? Math.round(value) : Math.round(value * 10) / 10} ${unit}`;
    value /= 1024;
  }
  return `${Math.round(value * 10) / 10} GiB`;
}

/** Milliseconds: 0.42 → "0.42 ms", 1530 → "1.53 s". */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(2)} s` : span(ms / 1000);
}

/** Seconds, roughly: 754 → "12 min 34 s". */
export function span(seconds) {
  const left = Math.max(0, Math.round(seconds));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min${left % 60 ? ` ${left % 60} s` : ""}`;
  return `${Math.floor(left / 3600)} h${left % 3600 >= 60 ? ` ${Math.floor((left % 3600) / 60)} min` : ""}`;
}

/** Time of day with milliseconds, in the reader's zone. */
export function timeOfDay(rfc3339) {
  const at = new Date(rfc3339);
  return Number.isNaN(at.getTime()) ? "–" : clock.format(at);
}

/** Day and time, of unix seconds. */
export function dayAndTime(unixSeconds) {
  return unixSeconds ? day.format(new Date(unixSeconds * 1000)) : "–";
}

/** "3 min ago", of unix seconds. */
export function ago(unixSeconds) {
  return `${span(Date.now() / 1000 - unixSeconds)} ago`;
}

/** 1 → "1 exchange", 2 → "2 exchanges". */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
