// What was signed each day, as bars; the table beside it has the exact amounts.

import { locale } from "./page.js";

const place = document.querySelector("#outflows");
const DAY_S = 24 * 3600;

function draw() {
  place.replaceChildren();
  const days = JSON.parse(place.dataset.days).map((day) => day * DAY_S);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  for (const [asset, amounts] of Object.entries(JSON.parse(place.dataset.amounts))) {
    const options = {
      title: asset,
      width: place.clientWidth,
      height: 170,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { range: [days[0] - DAY_S, days.at(-1) + DAY_S] }, y: { range: (_, low, high) => [0, high || 1] } },
      axes: [{ ...axis, values: (_, at) => at.map((one) => new Date(one * 1000).toLocaleDateString(locale, { day: "numeric", month: "short", timeZone: "UTC" })) }, axis],
      series: [{}, { fill: colour("--before"), stroke: colour("--before"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 22] }) }],
    };
    new uPlot(options, [days, amounts.map(Number)], place);
  }
}

if (place) {
  draw();
  new ResizeObserver(draw).observe(place.parentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
