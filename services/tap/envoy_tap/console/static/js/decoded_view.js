// Bodies that the service took apart: forms, multipart, gRPC, WebSocket.

import { h } from "./dom.js";
import { bytes, count } from "./format.js";
import { readJson } from "./json_text.js";
import { jsonView } from "./json_view.js";
import { marked } from "./marks.js";

const VIEWS = { form, multipart, grpc, websocket };

/** Return the view of a decoded body; the shape is that of `envoy_tap.core.decode`. */
export function decodedView(body) {
  return VIEWS[body.kind]?.(body) ?? pre(body.text || body.hexdump || "");
}

/** Return the lines of a decoded body, to be compared. */
export function decodedLines(body) {
  switch (body?.kind) {
    case "text":
      return body.text.split("\n");
    case "form":
      return body.fields.map(([name, value]) => `${name}=${value}`);
    case "multipart":
      return body.parts.flatMap((part) => [`--- ${part.name} ${part.filename}`, ...decodedLines(part.body)]);
    case "grpc":
      return body.messages.flatMap((message, at) => [`--- message ${at + 1} ${message.type}`, ...(message.text || fieldLines(message.fields).join("\n") || message.hexdump).split("\n")]);
    case "websocket":
      return body.frames.map((frame) => `${frame.opcode} ${frame.text || frame.hexdump}`);
    case "binary":
      return body.hexdump.split("\n");
    default:
      return [];
  }
}

function form({ fields }) {
  return h("table", { class: "pairs" }, h("tbody", {}, fields.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, marked(name)), h("td", {}, marked(value))))));
}

function multipart({ parts }) {
  return parts.map((part) =>
    h("section", { class: "part" }, h("h4", {}, part.name || "unnamed part", part.filename && h("span", { class: "hint" }, ` file “${part.filename}”`), h("span", { class: "hint" }, ` ${bytes(part.body.bytes)}`)), decodedText(part.body)),
  );
}

function decodedText(body) {
  if (body.kind === "text" && body.language === "json") return json(body.text);
  if (body.kind === "text") return pre(body.text);
  return body.kind === "image" ? h("p", { class: "hint" }, `a picture: ${body.image}`) : decodedView(body);
}

function grpc({ method, messages }) {
  return [
    h("p", { class: "hint" }, `${method}: ${count(messages.length, "message")}`),
    messages.map((message, at) =>
      h(
        "section",
        { class: "part" },
        h("h4", {}, `Message ${at + 1} `, message.type && h("code", {}, message.type), h("span", { class: "hint" }, ` ${bytes(message.bytes)}${message.compressed ? ", compressed" : ""}${message.complete ? "" : ", cut off"}`)),
        message.text ? json(message.text) : message.fields.length ? pre(fieldLines(message.fields).join("\n")) : pre(message.hexdump),
      ),
    ),
  ];
}

function websocket({ frames }) {
  return frames.map((frame) =>
    h("section", { class: "part" }, h("h4", {}, frame.opcode, h("span", { class: "hint" }, ` ${bytes(frame.bytes)}${frame.final ? "" : ", goes on"}${frame.complete ? "" : ", cut off"}`)), pre(frame.text || frame.hexdump)),
  );
}

function fieldLines(fields, indent = "") {
  return (fields ?? []).flatMap(({ number, wire, value }) =>
    Array.isArray(value) ? [`${indent}${number}: {`, ...fieldLines(value, `${indent}  `), `${indent}}`] : [`${indent}${number} (${wire}): ${value}`],
  );
}

function json(text) {
  const read = readJson(text);
  return read.root?.entries ? jsonView(read) : pre(text);
}

function pre(text) {
  return h("pre", { class: "text" }, marked(text));
}
