// A yes or a no. Everything that the box shows is read back from the bytes whose digest the passkey signs.

import { canonical, documentHash, randomHex, sameBytes, taggedHash, toHex, utf8 } from "./bytes.js";
import { amount, assertOver, call, say, template, text, time } from "./page.js";

const box = document.querySelector("#decision");
const message = document.querySelector("#message");
let prepared;
let sent;

const need = (holds, name) => {
  if (!holds) throw new Error(text(name));
};

// The approval to sign, checked against the request itself, whose id is the hash of its bytes.
async function prepare() {
  const given = await call("GET", `/requests/${box.dataset.request}/approval`);
  const request = JSON.parse(given.request);
  need(canonical(request) === given.request, "not_canonical");
  need(toHex(await taggedHash("request", utf8(given.request))) === box.dataset.request, "another_request");
  const draft = given.draft;
  const { calldata_hash: _, ...intent } = draft.intent;
  for (const name of Object.keys(intent)) need(intent[name] === request[name], "another_intent");
  for (const name of ["calldata", "typed_data", "source"]) need(intent[name] === request[name], "another_intent");
  need(draft.request === box.dataset.request && draft.origin === request.origin, "another_request");
  need(draft.slot.chain === intent.chain, "another_intent");
  need(BigInt(draft.fee_ceiling) <= BigInt(request.fee_ceiling), "fee_too_high");
  const expires = Math.min(draft.expires_ms, request.expires_ms);
  const body = { ...draft, expires_ms: expires, approval_id: randomHex(32), operator: given.operator };
  const bytes = utf8(canonical(body));
  return { given, request, bytes, digest: await taggedHash("approval", bytes), compared: await compared(bytes) };
}

// What a second screen shows, too: the document less who gives it, its id and its expiry, which differ there.
async function compared(bytes) {
  const { approval_id: _id, expires_ms: _until, operator: _who, ...shown } = JSON.parse(new TextDecoder().decode(bytes));
  return toHex(await documentHash("approval-shown", shown));
}

function sentence({ given, request, bytes }) {
  const said = JSON.parse(new TextDecoder().decode(bytes));
  const { intent, slot } = said;
  const destination = given.destination.toLowerCase() === intent.destination.toLowerCase() ? given.destination : intent.destination;
  const kind = intent.typed_data !== undefined ? "sign_typed_data" : intent.calldata !== undefined ? "sign_call" : "sign_pay";
  const values = {
    amount: amount(intent.amount, intent.asset, given.decimals[intent.asset]),
    wallet: intent.wallet,
    chain: intent.chain,
    destination,
    fee: amount(said.fee_ceiling, given.native, given.decimals[given.native]),
    initiator: request.initiator,
    key: request.idempotency_key,
    account: slot.account,
    number: slot.chain.startsWith("solana:") ? BigInt(slot.nonce).toString(16).padStart(64, "0") : slot.nonce,
    expires: time(said.expires_ms),
  };
  const rows = [
    ["sig_amount", `${values.amount} (${intent.amount})`],
    ["sig_wallet", `${intent.wallet} · ${intent.chain}`],
    ...(intent.source === undefined ? [] : [["sig_source", intent.source]]),
    ["sig_destination", destination],
    ["sig_fee", `${values.fee} (${said.fee_ceiling})`],
    ["sig_slot", `${slot.account} / ${values.number}`],
    ["sig_calldata", intent.calldata_hash],
    ["sig_policy", said.policy],
    ["sig_expires", values.expires],
    ["sig_operator", said.operator],
    ["sig_id", said.approval_id],
  ];
  return { said: pieces(kind, values), rows };
}

// The sentence, with what decides everything set apart.
function pieces(name, values) {
  return template(name).split(/(\{\w+\})/).map((part) => {
    const value = part.startsWith("{") ? values[part.slice(1, -1)] : part;
    if (!["{amount}", "{destination}", "{account}"].includes(part)) return document.createTextNode(value);
    const piece = document.createElement("strong");
    piece.className = part === "{amount}" ? "" : "hash";
    piece.textContent = value;
    return piece;
  });
}

function show() {
  const { said, rows } = sentence(prepared);
  box.querySelector("#sentence").replaceChildren(...said);
  const list = box.querySelector("#signed");
  list.replaceChildren();
  for (const [name, value] of rows) {
    const row = list.appendChild(document.createElement("div"));
    row.appendChild(document.createElement("dt")).textContent = text(name);
    row.appendChild(document.createElement("dd")).textContent = value;
  }
  box.querySelector("#digest").textContent = toHex(prepared.digest).match(/.{8}/g).join(" ");
  box.querySelector("#compared").textContent = prepared.compared.match(/.{8}/g).join(" ");
  box.querySelector("#command").textContent += ` --digest ${prepared.compared}`;
  box.dataset.ready = "yes";
}

async function approve() {
  if (!sent) {
    need(sameBytes(prepared.digest, await taggedHash("approval", prepared.bytes)), "another_request");
    say(message, text("touch"));
    const { given, bytes, digest } = prepared;
    const { assertion } = await assertOver(digest, given.rp_id, given.credential);
    sent = { body: new TextDecoder().decode(bytes), assertion };
  }
  say(message, text("sending"));
  const { state } = await call("POST", `/requests/${box.dataset.request}/approval`, sent);
  done(text("approved", { state }));
}

async function reject() {
  const reason = box.querySelector("#reason").value.replace(/\s+/g, " ").trim();
  need(reason, "reason_missing");
  const { origin, request, operator, rpId, credential } = box.dataset;
  const body = { origin, request, by: operator, reason };
  say(message, text("touch"));
  const { assertion } = await assertOver(await documentHash("reject", body), rpId, credential);
  say(message, text("sending"));
  await call("POST", `/requests/${request}/rejection`, { body: canonical(body), assertion });
  done(text("rejected"));
}

function done(said) {
  for (const one of box.querySelectorAll("button, textarea")) one.disabled = true;
  box.dataset.done = "yes";
  say(message, said, "good");
}

// Once signed, the same bytes are sent again after a lost network: whatever arrives twice counts once.
function on(button, act) {
  button?.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      if (error.code !== "network") sent = undefined;
      say(message, error.message, "bad");
      button.disabled = false;
      if (error.code === "session-over") box.querySelector("#again").hidden = false;
    }
  });
}

async function begin() {
  if (box.dataset.approve !== "yes") return;
  try {
    prepared = await prepare();
    show();
  } catch (error) {
    say(message, error.message, "bad");
    box.querySelector("#approve").disabled = true;
  }
}

// What others do meanwhile: when it waits for this operator no more, there is nothing to press.
document.addEventListener("refreshed", () => {
  const live = document.querySelector("#live");
  if (!box || box.dataset.done || box.dataset.approve !== "yes" || live.dataset.approve === "yes") return;
  box.querySelector("#approve").disabled = true;
  say(message, text("changed"));
});

if (box) {
  on(box.querySelector("#approve"), approve);
  on(box.querySelector("#reject"), reject);
  begin();
}
