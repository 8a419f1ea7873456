// Is this entry in the log that the cosigners signed? Computed here, from the entry's own bytes.

import { fromBase64, fromHex, joined, sameBytes, sha256, toHex, utf8 } from "./bytes.js";
import { call, say, text } from "./page.js";

const button = document.querySelector("#verify");
const message = document.querySelector("#message");
const KEY_ID_BYTES = 4, TIME_BYTES = 8;

// RFC 9162, section 2.1.3.2.
export async function rootOf(leaf, index, size, path) {
  let digest = leaf, position = BigInt(index), last = BigInt(size) - 1n;
  for (const sibling of path) {
    if (last === 0n) throw new Error(text("path_long"));
    if (position & 1n || position === last) {
      digest = await sha256(joined(Uint8Array.of(1), sibling, digest));
      while (!(position & 1n) && position) [position, last] = [position >> 1n, last >> 1n];
    } else {
      digest = await sha256(joined(Uint8Array.of(1), digest, sibling));
    }
    [position, last] = [position >> 1n, last >> 1n];
  }
  if (last !== 0n) throw new Error(text("path_short"));
  return digest;
}

// The names whose cosignature (c2sp.org/tlog-cosignature) under the note verifies.
async function cosigned(note, cosigners) {
  const end = note.indexOf("\n\n");
  const body = note.slice(0, end + 1);
  const names = [];
  for (const line of note.slice(end + 2).split("\n").filter(Boolean)) {
    const [, name, base64] = line.split(" ");
    const payload = fromBase64(base64).slice(KEY_ID_BYTES);
    if (!cosigners[name] || payload.length !== TIME_BYTES + 64) continue;
    const seconds = new DataView(payload.buffer).getBigUint64(0);
    const key = await crypto.subtle.importKey("raw", fromHex(cosigners[name]), { name: "Ed25519" }, false, ["verify"]);
    const said = utf8(`cosignature/v1\ntime ${seconds}\n${body}`);
    if (await crypto.subtle.verify("Ed25519", key, payload.slice(TIME_BYTES), said)) names.push(name);
  }
  return names;
}

async function verify() {
  const proof = await call("GET", `/log/${button.dataset.index}/proof`);
  const entry = fromHex(proof.entry);
  const [, size, root] = proof.note.split("\n");
  if (proof.index !== Number(button.dataset.index) || Number(size) !== proof.size) throw new Error(text("another_entry"));
  const found = await rootOf(await sha256(joined(Uint8Array.of(0), entry)), proof.index, proof.size, proof.path.map(fromHex));
  if (!sameBytes(found, fromBase64(root))) throw new Error(text("not_in_log"));
  const names = await cosigned(proof.note, proof.cosigners);
  if (names.length < proof.w) throw new Error(text("too_few", { names: names.join(", "), w: proof.w }));
  document.querySelector("#entry").textContent = JSON.stringify(JSON.parse(new TextDecoder().decode(entry)), null, 2);
  document.querySelector("#root").textContent = toHex(found);
  say(message, text("in_log", { size: proof.size, names: names.join(", ") }), "good");
}

button?.addEventListener("click", async () => {
  say(message, text("verifying"));
  await verify().catch((error) => say(message, error.message, "bad"));
});
