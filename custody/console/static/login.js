import { documentHash } from "./bytes.js";
import { assertOver, call, say, text } from "./page.js";

const button = document.querySelector("#login");
const message = document.querySelector("#message");

// The challenge is made here, under a tag of its own: no login is a yes to anything.
button.addEventListener("click", async () => {
  button.disabled = true;
  say(message, text("touch"));
  try {
    const { nonce, origin } = await call("POST", "/login/challenge", {});
    const digest = await documentHash("console-login", { origin, site: location.origin, nonce });
    const given = await assertOver(digest, location.hostname);
    const { to } = await call("POST", "/login", { nonce, ...given });
    location.assign(to);
  } catch (error) {
    say(message, error.message, "bad");
    button.disabled = false;
  }
});
