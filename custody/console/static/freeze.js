// One operator's passkey stops all signing. What it signs is made here, and says whose word it is.

import { canonical, documentHash, randomHex } from "./bytes.js";
import { assertOver, call, say, text } from "./page.js";

const box = document.querySelector("#freeze");
const message = box?.querySelector("#message");
const HOLDS_MS = 10 * 60 * 1000; // the log takes it in within 15 minutes before it expires
const loaded = Date.now();
let sent;

// The time at the coordinator, which writes the log's; this machine's clock may be wrong just when it matters.
const thereNow = () => Number(box.dataset.now) + Date.now() - loaded;

async function freeze() {
  const reason = box.querySelector("#reason").value.replace(/\s+/g, " ").trim();
  if (!reason) throw new Error(text("reason_missing"));
  if (!sent) {
    const { origin, operator, rpId, credential } = box.dataset;
    const body = { origin, target: randomHex(32), reason, by: operator, expires_ms: thereNow() + HOLDS_MS };
    say(message, text("touch"));
    const { assertion } = await assertOver(await documentHash("freeze-change", body), rpId, credential);
    sent = { body: canonical(body), assertion };
  }
  say(message, text("sending"));
  const { cosigned } = await call("POST", "/freeze", sent);
  for (const one of box.querySelectorAll("button, textarea")) one.disabled = true;
  say(message, text(cosigned ? "frozen" : "frozen_here"), cosigned ? "good" : "bad");
}

box?.querySelector("button").addEventListener("click", async (event) => {
  event.target.disabled = true;
  try {
    await freeze();
  } catch (error) {
    if (error.code !== "network") sent = undefined;
    say(message, error.message, "bad");
    event.target.disabled = false;
  }
});
