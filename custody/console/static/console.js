// On every page: times in the reader's zone, keys to move about, logout, and what changes meanwhile.

import { call, locale, text } from "./page.js";

const PLACES = { q: "/", r: "/requests", w: "/wallets", b: "/rebalancing", p: "/policy", n: "/nodes", i: "/indicators", l: "/log" };

function showTimes(root) {
  for (const one of root.querySelectorAll("time[datetime]")) {
    one.title = one.textContent;
    one.textContent = new Date(one.dateTime).toLocaleString(locale);
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

let refreshing = false;
let stale = false;

// One at a time; what changes during one is fetched by the next.
async function refresh() {
  stale = true;
  if (refreshing) return;
  refreshing = true;
  try {
    while (stale) {
      stale = false;
      await fetchLive();
    }
  } finally {
    refreshing = false;
  }
}

async function fetchLive() {
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
  let source;
  let missed = false;
  const show = (kind, name) => {
    state.dataset.kind = kind;
    state.textContent = text(name);
  };
  const listen = () => {
    source = new EventSource("/live");
    source.addEventListener("open", () => {
      show("good", "live");
      if (missed) refresh();
      missed = true;
    });
    source.addEventListener("error", () => {
      show("bad", "not_live");
      if (source.readyState === EventSource.CLOSED) leave();
    });
    source.addEventListener("health", (event) => {
      document.querySelector("#frozen").hidden = event.data !== "frozen";
      if (!wanted) refresh();
    });
    source.addEventListener("changed", (event) => {
      if (!wanted || wanted === event.data) refresh();
    });
    source.addEventListener("ended", () => {
      source.close();
      show("bad", "not_live");
      leave();
    });
  };
  // What somebody has typed stays: pressing a button there says that the session is over.
  const leave = () => {
    if (!document.querySelector("#decision")) location.assign("/login");
  };
  // A browser has six connections to a site: only tabs that are looked at hold one.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else listen();
  });
  if (!document.hidden) listen();
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
