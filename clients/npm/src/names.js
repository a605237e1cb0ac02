/** Names of events and locations: checked, and of bounded length, as in the SDK and in logs that were ingested. */

import { sha256 } from "./sha256.js";

const MAX_NAME_BYTES = 1024; // of UTF-8
const KEPT_CHARS = 200; // of a longer name, before the hash of the whole

/** The name under which a string is kept. Throws a TypeError for anything else, and for "". */
export function checkName(value, what) {
  if (typeof value !== "string" || value === "") {
    throw new TypeError(`${what} must be a string and not empty, got ${shown(value)}`);
  }
  return boundedName(value);
}

/** A name as it is; of one of more than 1,024 bytes the first 200 characters, "~" and the SHA-256 of its UTF-8. */
export function boundedName(name) {
  if (name.length <= MAX_NAME_BYTES / 4) return name; // a character takes at most four bytes
  const encoded = utf8(name);
  if (encoded.length <= MAX_NAME_BYTES) return name;
  return `${Array.from(name).slice(0, KEPT_CHARS).join("")}~${sha256(encoded)}`;
}

/** UTF-8; half of a surrogate pair takes three bytes, where TextEncoder would write U+FFFD. */
function utf8(text) {
  if (text.isWellFormed?.() ?? !/\p{Surrogate}/u.test(text)) return new TextEncoder().encode(text);
  const bytes = [];
  for (const character of text) {
    const code = character.codePointAt(0);
    if (code < 0xd800 || code > 0xdfff) bytes.push(...new TextEncoder().encode(character));
    else bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return Uint8Array.from(bytes);
}

/** A value for a message, shortened. */
export function shown(value) {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
