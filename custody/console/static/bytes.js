// The canonical encoding and the tagged hash of every signed document (docs/spec/entries.md), as
// policy/encoding.py has them. What a passkey signs here was computed here.

const encoder = new TextEncoder();

export const toHex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

export function fromHex(text) {
  if (!/^([0-9a-f]{2})*$/.test(text)) throw new Error(`${text.slice(0, 40)} is no hex`);
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

// RFC 8785 for what documents consist of: objects, lists, texts, small integers and booleans.
export function canonical(value) {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new Error("a text with a lone surrogate has no canonical encoding");
    return JSON.stringify(value);
  }
  if (typeof value === "boolean") return String(value);
  if (Number.isSafeInteger(value)) return String(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const fields = Object.keys(value).sort().map((name) => `${canonical(name)}:${canonical(value[name])}`);
    return `{${fields.join(",")}}`;
  }
  throw new Error(`${value} has no canonical encoding`);
}

export const utf8 = (text) => encoder.encode(text);

export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  parts.reduce((place, part) => (whole.set(part, place), place + part.length), 0);
  return whole;
}

export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

function measured(bytes) {
  const size = new DataView(new ArrayBuffer(8));
  size.setBigUint64(0, BigInt(bytes.length));
  return joined(new Uint8Array(size.buffer), bytes);
}

export const taggedHash = (tag, bytes) => sha256(joined(measured(utf8(tag)), measured(bytes)));

export const documentHash = (tag, document) => taggedHash(tag, utf8(canonical(document)));

export const randomHex = (bytes) => toHex(crypto.getRandomValues(new Uint8Array(bytes)));

export const sameBytes = (one, other) => toHex(one) === toHex(other);
