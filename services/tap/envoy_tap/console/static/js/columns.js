// The columns of the list: how each is named, filled and sorted.

import { bytes, duration, timeOfDay } from "./format.js";

const FLAGS = {
  truncated: ["cut", "a body or header list is shorter than what was sent"],
  incomplete: ["partial", "a half, or an end, is missing"],
  redacted: ["redacted", "something was taken out before it was stored"],
  dropped: ["dropped", "something did not get through to the collector"],
};

/** Return the short name and the meaning of a flag. */
export function flagText(flag) {
  return FLAGS[flag] ?? [flag, ""];
}

const GRPC = [
  "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
];

/** Return the tone of a status: good, info, warn, bad or dim. */
export function statusTone(row) {
  if (row.grpc_status) return "bad";
  if (row.status === null || row.status === undefined) return "dim";
  return ["dim", "info", "good", "info", "warn", "bad"][Math.floor(row.status / 100)] ?? "dim";
}

/** Return the status in words: of HTTP, and of gRPC if there is one. */
export function statusText(row) {
  const grpc = isGrpc(row) ? ` ${GRPC[row.grpc_status] ?? row.grpc_status}` : "";
  return `${row.status ?? "none"}${grpc}`;
}

function isGrpc(row) {
  return row.grpc_status !== null && row.grpc_status !== undefined;
}

// Both in few characters.
function shortStatus(row) {
  return `${row.status ?? "none"}${isGrpc(row) ? `·${row.grpc_status}` : ""}`;
}

function shortType(type) {
  return (type ?? "").split(";")[0].replace(/^(application|text|image)\//, "");
}

const node = (row) => row.node?.id ?? "";

/** Each has `name`, `label`, `text(row)`, `value(row)` to sort by, and maybe `tone(row)`; `hint` is its tooltip, `bar` the waterfall. */
export const COLUMNS = [
  { name: "seq", label: "#", text: (row) => String(row.seq), value: (row) => row.seq, end: true },
  { name: "time", label: "Time", text: (row) => timeOfDay(row.time), value: (row) => row.at },
  { name: "node", label: "Proxy", text: node, value: node },
  { name: "method", label: "Method", text: (row) => row.method ?? "–", value: (row) => row.method },
  { name: "authority", label: "Host", text: (row) => row.authority ?? "–", value: (row) => row.authority },
  { name: "path", label: "Path", text: (row) => row.path ?? "–", hint: (row) => row.path ?? "", value: (row) => row.path },
  { name: "status", label: "Status", text: shortStatus, hint: statusText, value: (row) => row.status, tone: statusTone },
  { name: "duration", label: "Duration", text: (row) => duration(row.duration_ms), value: (row) => row.duration_ms, end: true },
  { name: "sent", label: "Sent", text: (row) => bytes(row.request_bytes), value: (row) => row.request_bytes, end: true },
  { name: "received", label: "Received", text: (row) => bytes(row.response_bytes), value: (row) => row.response_bytes, end: true },
  { name: "type", label: "Type", text: (row) => shortType(row.response_type), value: (row) => shortType(row.response_type) },
  { name: "flags", label: "Flags", text: (row) => (row.flags ?? []).map((flag) => flagText(flag)[0]).join(" "), value: (row) => (row.flags ?? []).join() },
  { name: "waterfall", label: "Waterfall", text: () => "", value: (row) => row.at, bar: true },
];
