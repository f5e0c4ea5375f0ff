// A body's bytes, and what they are by their beginning: what a peer declares decides nothing.

/** Return the bytes of a stored message's body. */
export function bodyBytes(message) {
  if (!message?.body) return new Uint8Array();
  return message.body_encoding === "base64" ? fromBase64(message.body) : new TextEncoder().encode(message.body);
}

/** Return the text of a stored message's body, null if it is none. */
export function bodyText(message) {
  return message?.body_encoding === "base64" ? null : (message?.body ?? "");
}

/** Return a header's value as text; what is not UTF-8 is stored as base64, and shown as escapes. */
export function headerText(value) {
  if (typeof value === "string") return value;
  return [...fromBase64(value?.base64 ?? "")].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`)).join("");
}

const RASTERS = [
  ["image/png", [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ["image/jpeg", [0xff, 0xd8, 0xff]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38]],
];

/** Return the type of a picture made of points, "" for anything else: SVG is a program, and never shown as a picture. */
export function rasterType(bytes) {
  for (const [type, magic] of RASTERS) if (magic.every((byte, at) => bytes[at] === byte)) return type;
  const tag = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  return tag(0) === "RIFF" && tag(8) === "WEBP" ? "image/webp" : "";
}

/** Return rows of sixteen bytes: offset, hexadecimal, characters. */
export function hexRows(bytes, from, to) {
  const rows = [];
  for (let at = from; at < Math.min(to, bytes.length); at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0"));
    const text = row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."));
    rows.push(`${at.toString(16).padStart(8, "0")}  ${hex.slice(0, 8).join(" ").padEnd(23)}  ${hex.slice(8).join(" ").padEnd(23)}  ${text.join("")}`);
  }
  return rows;
}

function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}
