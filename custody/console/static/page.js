// What every page's script uses: texts, calls to this site, messages to the reader, the passkey.

import { canonical, fromHex, toHex } from "./bytes.js";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
const texts = JSON.parse(meta("texts") || "{}");

export const template = (name) => texts[`js.${name}`] ?? name;

export function text(name, values = {}) {
  return template(name).replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

export class Refused extends Error {
  constructor(code, detail) {
    super(detail);
    this.code = code;
  }
}

// One call to this site. A refusal and a lost network are told apart: after the second nobody knows.
// A call that the page makes by itself says so: it keeps no session alive, and gets nothing when there is none.
export async function call(method, path, document, { byItself = false } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { "Accept": "application/json", "Content-Type": "application/json", "X-Quorumkeep-Csrf": meta("csrf"), ...(byItself ? { "HX-Request": "true" } : {}) },
      body: document === undefined ? undefined : JSON.stringify(document),
      credentials: "same-origin",
      redirect: "error",
    });
  } catch {
    throw new Refused("network", text("network"));
  }
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401 && answer.code === "session-over") throw new Refused("session-over", text("session_over"));
  if (!response.ok) throw new Refused(answer.code ?? "refused", answer.detail ?? String(response.status));
  return answer;
}

export function say(place, message, kind = "") {
  place.textContent = message;
  place.dataset.kind = kind;
  place.setAttribute("role", kind === "bad" ? "alert" : "status");
}

// An assertion of a passkey over 32 bytes, as documents have it. Of one credential if it is named.
export async function assertOver(digest, rpId, credential) {
  const allow = credential ? [{ type: "public-key", id: fromHex(credential) }] : [];
  let given;
  try {
    given = await navigator.credentials.get({
      publicKey: { challenge: digest, rpId, allowCredentials: allow, userVerification: "required", timeout: 120000 },
    });
  } catch (error) {
    throw new Refused("passkey", text(error.name === "NotAllowedError" ? "passkey_not_given" : "passkey_failed", { error: error.message }));
  }
  const { authenticatorData, clientDataJSON, signature } = given.response;
  return {
    credential: toHex(given.rawId),
    assertion: {
      authenticator_data: toHex(authenticatorData),
      client_data: toHex(clientDataJSON),
      signature: toHex(signature),
    },
  };
}

// The reader's own way to write dates, in the language of the page.
const language = document.documentElement.lang;
export const locale = navigator.languages.find((one) => one.startsWith(language)) ?? language;

export const time = (ms) => new Date(ms).toLocaleString(locale);

export function amount(units, asset, decimals) {
  if (decimals === undefined) return `${units} ${asset}`;
  const digits = units.padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  const part = digits.slice(digits.length - decimals).replace(/0+$/, "");
  return `${part ? `${whole}.${part}` : whole} ${asset}`;
}

export { canonical };
