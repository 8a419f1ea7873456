// Charts of a rebalancer's report; the tables beside them have the numbers.

import { locale } from "./page.js";

const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const number = new Intl.NumberFormat(locale, { maximumSignificantDigits: 6 });
const day = (seconds) => new Date(seconds * 1000).toLocaleDateString(locale, { day: "numeric", month: "short", timeZone: "UTC" });

// How a series of each kind is drawn.
const KINDS = {
  edge: () => ({ width: 1, points: { show: false }, paths: uPlot.paths.linear() }),
  line: () => ({ width: 2, points: { show: false }, paths: uPlot.paths.linear() }),
  dashed: () => ({ width: 1.5, dash: [3, 4], points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) }),
  step: () => ({ width: 2, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) }),
  dots: () => ({ width: 0, points: { show: true, size: 6 }, paths: () => null }),
  marked: () => ({ width: 2, points: { show: true, size: 7 }, paths: uPlot.paths.linear() }),
};

function draw(place) {
  const chart = JSON.parse(place.dataset.chart);
  place.replaceChildren();
  if (!chart.x.length) return;
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const series = chart.series.map((one) => ({
    ...KINDS[one.drawn](),
    label: one.label,
    stroke: colour(one.colour),
    value: (_, value) => (value === null ? "–" : number.format(value)),
    points: { ...KINDS[one.drawn]().points, stroke: colour(one.colour), fill: colour(one.colour) },
  }));
  const first = { label: chart.dated ? "UTC" : "%", value: (_, at) => (at === null ? "–" : chart.dated ? new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ") : number.format(at)) };
  const options = {
    width: place.clientWidth,
    height: 230,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    legend: { show: true, live: true },
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: chart.dated }, y: { range: (_, low, high) => [Math.min(0, low), high * 1.05 || 1] } },
    axes: [{ ...axis, ...(chart.dated ? { incrs: [1, 2, 7, 14, 28].map((days) => days * 86400) } : {}), values: (_, at) => at.map((one) => (chart.dated ? day(one) : `${number.format(one)} %`)) }, { ...axis, size: 62, label: chart.unit, labelSize: 18 }],
    series: [first, ...series],
    bands: chart.bands.map((pair) => ({ series: pair, fill: `${colour("--band")}38` })),
  };
  const values = chart.series.map((one) => one.values.map((value) => (value === "" ? null : Number(value))));
  new uPlot(options, [chart.x.map(Number), ...values], place);
}

const places = Array.from(document.querySelectorAll("[data-chart]"));
const drawAll = () => places.forEach(draw);
if (places.length) {
  drawAll();
  new ResizeObserver(drawAll).observe(document.querySelector("main"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
}
