// What each node itself found in the bytes. Every word is checked by the node's own signature, compared with
// the request, whose id is the hash of its bytes, and with what the other nodes found.

import { canonical, fromHex, sameBytes, sha256, taggedHash, toHex, utf8 } from "./bytes.js";
import { amount, call, text } from "./page.js";

const place = document.querySelector("#readings");
const TAG = "quorumkeep/v1 reading\n";

async function signed(node) {
  const key = await crypto.subtle.importKey("raw", fromHex(node.key), { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, fromHex(node.signature), utf8(TAG + node.body));
}

// A node's name keeps its key for ever, so another key than this browser has seen under it is not the node's.
function isKnown(node, origin) {
  const pinned = `node-key ${origin} ${node.node}`;
  const before = localStorage.getItem(pinned);
  if (before === null) localStorage.setItem(pinned, node.key);
  return before === null || before === node.key;
}

const hashOf = async (hex) => toHex(await sha256(fromHex(hex)));

// Whether what a node decoded is what was asked for, and costs no more.
async function isAsked(decoded, request) {
  const same = ["asset", "destination", "amount"].every((name) => decoded[name] === undefined || decoded[name] === request[name]);
  const whole = request.typed_data !== undefined
    ? decoded.typed_data_sha256 === (await hashOf(request.typed_data))
    : decoded.destination !== undefined && decoded.amount !== undefined;
  const calldata = request.calldata !== undefined
    ? decoded.calldata_sha256 === (await hashOf(request.calldata))
    : decoded.calldata_sha256 === undefined && (request.typed_data !== undefined || decoded.asset !== undefined);
  const slot = decoded.slot?.chain === request.chain;
  return same && whole && calldata && slot && BigInt(decoded.fee_max) <= BigInt(request.fee_ceiling);
}

// One node's word, or what is wrong with it.
async function check(node, given, request) {
  if (node.cold) return { node, cold: true };
  if (node.problem) return { node, problem: text("read_silent", { problem: node.problem }) };
  if (!(await signed(node).catch(() => false))) return { node, problem: text("read_unsigned"), bad: true };
  if (!isKnown(node, given.origin)) return { node, problem: text("read_other_key"), bad: true };
  const said = JSON.parse(node.body);
  const mine = said.origin === given.origin && said.node === node.node && said.request === place.dataset.request;
  if (!mine || canonical(said) !== node.body) return { node, problem: text("read_other"), bad: true };
  if (said.decoded.unreadable !== undefined) return { node, said, problem: text("read_unreadable", { reason: said.decoded.unreadable }), bad: true };
  if (!(await isAsked(said.decoded, request))) return { node, said, problem: text("read_differs"), bad: true };
  return { node, said };
}

// What nodes must agree on; where each is in the log is its own.
const agreed = ({ decoded, policy, tx, verdict }) => canonical({ decoded, policy, tx, verdict: [verdict.outcome, verdict.rule] });

function summary(found) {
  const asked = found.filter((one) => !one.cold);
  const read = asked.filter((one) => one.said && !one.problem);
  const kinds = new Set(read.map((one) => agreed(one.said)));
  if (asked.some((one) => one.bad) || kinds.size > 1) return ["bad", text("read_disagree")];
  if (!asked.length) return ["", text("read_cold")];
  if (!read.length) return ["bad", text("read_none")];
  const values = { count: read.length, all: asked.length, verdict: text(`outcome_${read[0].said.verdict.outcome}`), rule: read[0].said.verdict.rule };
  return read.length < asked.length ? ["bad", text("read_some", values)] : ["good", text("read_agree", values)];
}

function words({ said }, given) {
  const { decoded } = said;
  const fee = amount(decoded.fee_max, given.native, given.decimals[given.native]);
  if (decoded.typed_data_sha256) return text("read_typed", { hash: decoded.typed_data_sha256.slice(0, 16) });
  const values = { destination: decoded.destination, fee, hash: decoded.calldata_sha256?.slice(0, 16) };
  const asset = decoded.asset ?? given.native;
  values.amount = amount(decoded.amount, asset, given.decimals[asset]);
  return text(decoded.calldata_sha256 ? "read_call" : "read_pay", values);
}

function row(one, given) {
  const made = document.createElement("tr");
  const cell = (content, kind = "") => Object.assign(made.appendChild(document.createElement("td")), { textContent: content, className: kind });
  const name = cell(one.node.node);
  const key = Object.assign(document.createElement("div"), { textContent: one.node.key.slice(0, 16), className: "hash" });
  key.title = one.node.key;
  name.append(key);
  if (one.cold) {
    cell(text("read_cold_node"), "note").colSpan = 3;
    return made;
  }
  const what = [one.said && one.said.decoded.unreadable === undefined ? words(one, given) : "", one.problem ?? ""].filter(Boolean);
  cell(what.join(" — "), one.problem ? "bad" : "");
  const { verdict, log } = one.said ?? {};
  cell(verdict ? `${text(`outcome_${verdict.outcome}`)} · ${verdict.rule}` : "–").title = verdict?.reason ?? "";
  cell(log ? String(log.size) : "–", "right");
  return made;
}

function show(found, given) {
  const [kind, said] = summary(found);
  for (const one of [place.querySelector("#read-summary"), document.querySelector("#nodes-say")]) {
    if (!one) continue;
    one.textContent = said;
    one.dataset.kind = kind;
    one.setAttribute("role", kind === "bad" ? "alert" : "status");
  }
  place.querySelector("tbody").replaceChildren(...found.map((one) => row(one, given)));
  place.querySelector(".scroll").hidden = false;
}

async function ask(byItself) {
  const given = await call("GET", `/requests/${place.dataset.request}/readings`, undefined, { byItself });
  if (!given.nodes) return;
  const id = await taggedHash("request", utf8(given.request));
  if (!sameBytes(id, fromHex(place.dataset.request))) throw new Error(text("another_request"));
  const request = JSON.parse(given.request);
  show(await Promise.all(given.nodes.map((node) => check(node, given, request).catch(() => ({ node, problem: text("read_other"), bad: true })))), given);
  place.dataset.ready = "yes";
}

function asking(byItself) {
  ask(byItself).catch((error) => {
    const said = place.querySelector("#read-summary");
    said.textContent = error.message;
    said.dataset.kind = "bad";
  });
}

// Once the request is under way, what the nodes would say of it now is not what they said when it was decided.
if (place) {
  asking(false);
  document.addEventListener("refreshed", () => {
    if (document.querySelector("#live").dataset.readable === "yes") asking(true);
  });
}
