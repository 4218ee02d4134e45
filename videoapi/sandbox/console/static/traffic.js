// How many requests arrive: a bar per second, the limit as a line, and the worst of each route.

import { cell, mono, number, show } from "/console/tables.js";

const SVG = "http://www.w3.org/2000/svg";
// A stall of the sandbox that makes a rate look higher than it was, in seconds.
const STALL = 0.05;
const byId = (id) => document.getElementById(id);
let recent = [];
let limit = null;
let since = 0;

export function showTraffic(traffic) {
  recent = traffic.recent;
  since = performance.now();
  const [requests, unit] = traffic.rate_limit?.split("/") ?? [];
  limit = unit === "s" ? Number(requests) : null;
  byId("traffic-limit").textContent = traffic.rate_limit ? `Limit ${traffic.rate_limit}` : "No limit";
  const { total, routes } = traffic;
  const rows = routes.length === 0 ? [] : [row(cell("All routes, without files"), total), ...routes.map((one) => row(mono(one.route), one))];
  show("traffic", rows, "No requests yet");
  const stalled = byId("traffic-stalled");
  stalled.hidden = traffic.stalled < STALL;
  stalled.textContent = `The sandbox itself was once too busy to read for ${traffic.stalled} s: what waited for it counts as one burst.`;
  draw();
}

function row(name, { route, worst_second, worst_tenth, concurrency, requests, throttled }) {
  return {
    key: route,
    cells: [name, ...[worst_second, worst_tenth, concurrency, requests].map(number), throttled ? cell(String(throttled), { badge: "warn", number: true }) : number(0)],
  };
}

function draw() {
  // Without news, the bars move on by themselves.
  const moved = Math.min(recent.length, Math.floor((performance.now() - since) / 1000));
  const bars = [...recent.slice(moved), ...Array(moved).fill(0)];
  const highest = Math.max(...bars);
  const top = Math.max(highest, limit ?? 0, 1);
  const elements = bars.map((count, second) => {
    const height = (count / top) * 94;
    return shape("rect", { x: second + 0.1, y: 100 - height, width: 0.8, height, class: limit !== null && count > limit ? "over" : "" });
  });
  if (limit !== null) {
    const y = 100 - (limit / top) * 94;
    elements.push(shape("line", { x1: 0, x2: 60, y1: y, y2: y, "vector-effect": "non-scaling-stroke" }));
  }
  byId("traffic-chart").replaceChildren(...elements);
  byId("traffic-recent").textContent = `at most ${highest.toLocaleString("en")} in a second, in the last 60 s`;
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

setInterval(() => {
  if (!document.hidden && recent.some(Boolean)) draw();
}, 1000);
