// On every page: times in the reader's zone, keys to move about, logout, and what changes meanwhile.

import { call, text } from "./page.js";

const PLACES = { q: "/", r: "/requests", w: "/wallets", p: "/policy", n: "/nodes", l: "/log" };

function showTimes(root) {
  for (const one of root.querySelectorAll("time[datetime]")) {
    one.title = one.textContent;
    one.textContent = new Date(one.dateTime).toLocaleString(document.documentElement.lang);
  }
}

function keys() {
  let waiting = false;
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (waiting && PLACES[event.key]) location.assign(PLACES[event.key]);
    waiting = event.key === "g";
    const rows = Array.from(document.querySelectorAll("a[data-row]"));
    const at = rows.indexOf(document.activeElement);
    if (event.key === "j") rows[Math.min(at + 1, rows.length - 1)]?.focus();
    if (event.key === "k") rows[Math.max(at - 1, 0)]?.focus();
    if (event.key === "?") document.querySelector("#keys")?.showModal();
  });
}

async function refresh() {
  const scrolled = document.activeElement?.getAttribute("href");
  await htmx.ajax("GET", location.pathname + location.search, { target: "#live", select: "#live", swap: "outerHTML" });
  showTimes(document.querySelector("#live"));
  if (scrolled) document.querySelector(`#live a[href="${CSS.escape(scrolled)}"]`)?.focus();
  document.dispatchEvent(new CustomEvent("refreshed"));
}

function follow() {
  const place = document.querySelector("#live");
  const state = document.querySelector("#connection");
  if (!place || !state) return;
  state.hidden = false;
  const wanted = place.dataset.request;
  const source = new EventSource("/live");
  let due = 0;
  source.addEventListener("open", () => {
    state.dataset.kind = "good";
    state.textContent = text("live");
    if (due) refresh();
    due = 1;
  });
  source.addEventListener("error", () => {
    state.dataset.kind = "bad";
    state.textContent = text("not_live");
  });
  source.addEventListener("changed", (event) => {
    if (!wanted || wanted === event.data) refresh();
  });
  source.addEventListener("ended", () => {
    source.close();
    location.assign("/login");
  });
}

document.querySelector("#logout")?.addEventListener("click", async () => {
  await call("POST", "/logout").catch(() => {});
  location.assign("/login");
});
document.querySelector("#show-keys")?.addEventListener("click", () => document.querySelector("#keys").showModal());
for (const one of document.querySelectorAll("dialog [data-close]")) one.addEventListener("click", () => one.closest("dialog").close());
showTimes(document);
keys();
follow();
