// A new passkey and its card. Nothing of it is sent: administrators enrol the card by its fingerprint.

import { canonical, taggedHash, toHex, utf8 } from "./bytes.js";
import { say, text } from "./page.js";

const form = document.querySelector("#enrol");
const message = document.querySelector("#message");
const SPKI_BYTES = 91, POINT_BYTES = 65, ES256 = -7;

async function newPasskey(name) {
  const made = await navigator.credentials.create({
    publicKey: {
      rp: { id: location.hostname, name: "Quorumkeep" },
      user: { id: crypto.getRandomValues(new Uint8Array(16)), name, displayName: name },
      challenge: crypto.getRandomValues(new Uint8Array(32)),
      pubKeyCredParams: [{ type: "public-key", alg: ES256 }],
      authenticatorSelection: { residentKey: "required", userVerification: "required" },
      attestation: "none",
      timeout: 120000,
    },
  });
  const key = new Uint8Array(made.response.getPublicKey());
  if (key.length !== SPKI_BYTES) throw new Error(text("no_es256"));
  return {
    id: toHex(made.rawId),
    public_key: toHex(key.slice(-POINT_BYTES)),
    rp_id: location.hostname,
    origins: [location.origin],
  };
}

function offer(link, content, name) {
  link.href = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
  link.download = name;
  link.hidden = false;
}

function pem(bytes) {
  const base64 = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return `-----BEGIN PRIVATE KEY-----\n${base64.match(/.{1,64}/g).join("\n")}\n-----END PRIVATE KEY-----\n`;
}

// An operator's card has a key for the command line, too; unless its owner wants it, nobody keeps it. An auditor's
// card has one only then.
async function newCard() {
  const { name, kind, keep } = form.elements;
  const credential = await newPasskey(name.value);
  if (kind.value === "auditor" && !keep.checked) return { kind: kind.value, name: name.value, credential };
  const pair = await crypto.subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"]);
  if (keep.checked) {
    offer(document.querySelector("#key"), pem(await crypto.subtle.exportKey("pkcs8", pair.privateKey)), "key.pem");
  }
  const key = toHex(await crypto.subtle.exportKey("raw", pair.publicKey));
  return { kind: kind.value, name: name.value, key, credential };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  say(message, text("touch"));
  try {
    const card = await newCard();
    const bytes = utf8(canonical(card));
    document.querySelector("#fingerprint").textContent = toHex(await taggedHash("card", bytes)).match(/.{8}/g).join(" ");
    offer(document.querySelector("#card"), bytes, "card.json");
    const made = document.querySelector("#made");
    made.dataset.kind = card.kind;
    made.hidden = false;
    say(message, text("card_made"), "good");
  } catch (error) {
    say(message, error.name === "NotAllowedError" ? text("passkey_not_given") : error.message, "bad");
  }
});
