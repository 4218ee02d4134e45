// The stream of events, and what each section of the page shows of it.

import { act, say, setRooms, setUp } from "/console/forms.js";
import { badge, button, cell, moment, mono, number, pill, show, time } from "/console/tables.js";
import { showTraffic } from "/console/traffic.js";

const byId = (id) => document.getElementById(id);
const KEPT = 500;
const SHOWN = 200;
const requests = new Map();
let missed = 0;
let baseUrl = "";
let paused = false;
let drawing = false;

const sections = {
  log({ forgotten }) {
    for (const key of requests.keys()) if (key <= forgotten) requests.delete(key);
    draw();
  },
  traffic: showTraffic,
  ledger(ledger) {
    for (const name of ["requests", "created", "tokens", "connections", "duplicates"]) {
      byId(`figure-${name}`).textContent = ledger[name].toLocaleString("en");
    }
    byId("figure-duplicates").classList.toggle("alarm", ledger.duplicates > 0);
    show(
      "ledger",
      ledger.routes.map((route) => ({
        key: route.route,
        cells: [mono(route.route), number(route.requests), number(route.executed)],
      })),
      "Nothing was executed yet",
    );
  },
  faults({ rows, planned, refusing }) {
    const items = [...rows.map(faultItem), ...Object.entries(planned).map(plannedItem)];
    replace(byId("faults"), items);
    byId("faults-refusing").hidden = !refusing;
    byId("faults-empty").hidden = items.length > 0 || refusing;
    byId("cancel-faults").hidden = items.length === 0;
  },
  rooms({ total, rows }) {
    count("rooms", total, rows.length);
    setRooms(rows);
    show(
      "rooms",
      rows.map((room) => ({
        key: room.id,
        cells: [
          cell(room.name, { wide: true }),
          room.active ? badge("active", "ok") : cell("idle"),
          cell(room.kind),
          mono(room.id),
          moment(room.created),
          cell(room.owner_ref, { wide: true }),
        ],
      })),
      "No rooms yet",
    );
  },
  sessions({ total, rows }) {
    count("sessions", total, rows.length);
    show(
      "sessions",
      rows.map((session) => ({
        key: session.conf_num,
        cells: [
          cell("End", {
            action: "end-session",
            values: { room_id: session.room_id },
            label: `End the conference in ${session.room}`,
          }),
          cell(session.room, { wide: true }),
          cell(session.users.join(", ") + (session.more ? ` and ${session.more} more` : ""), { wide: true }),
          time(session.since),
          mono(session.conf_num),
        ],
      })),
      "No session is running",
    );
  },
  calls({ total, rows }) {
    count("calls", total, rows.length);
    byId("figure-calls").textContent = total.toLocaleString("en");
    show(
      "calls",
      rows.map((call) => ({
        key: call.id,
        cells: [
          cell(call.user, { wide: true }),
          cell(call.role),
          cell(call.room, { wide: true }),
          number(call.minutes),
          moment(call.joined),
          mono(call.conf_num),
        ],
      })),
      "No call records: they exist when a session has ended",
    );
  },
  archives({ total, rows }) {
    count("archives", total, rows.length);
    show(
      "archives",
      rows.map((archive) => ({
        key: archive.id,
        cells: [moment(archive.at), number(archive.files), mono(archive.conf_num), mono(archive.room_id)],
      })),
      "No archives: record a conference to get one",
    );
  },
  webhooks({ total, rows }) {
    count("webhooks", total, rows.length);
    for (const element of document.querySelectorAll("[data-shows=webhooks]")) element.hidden = rows.length === 0;
    show(
      "webhooks",
      rows.map((delivery) => ({
        key: delivery.number,
        cells: [
          time(delivery.at),
          deliveryResult(delivery),
          mono(delivery.type),
          cell(delivery.url, { mono: true, wide: true }),
          number(delivery.attempt),
          number(delivery.seconds),
        ],
      })),
      "Nothing was sent yet",
    );
  },
  tokens({ total, rows }) {
    count("tokens", total, rows.length);
    const tones = { unused: "wait", "in session": "ok", spent: "plain" };
    show(
      "tokens",
      rows.map((token) => ({
        key: token.token + token.at,
        cells: [
          mono(token.token),
          cell(token.name, { wide: true }),
          cell(token.role),
          badge(token.state, tones[token.state]),
          mono(token.room_id),
          moment(token.at),
        ],
      })),
      "No tokens yet",
    );
  },
};

let events = null;

connect();

// A browser allows six connections to a host, and a page in the background needs none.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connect();
  else if (events) {
    events.close();
    events = null;
    connection("waiting", "Paused");
  }
});

function connect() {
  if (events || document.hidden) return;
  const opened = new EventSource("/console/events");
  events = opened;
  events.addEventListener("hello", ({ data }) => {
    const hello = JSON.parse(data);
    baseUrl = hello.base_url;
    byId("base-url").textContent = baseUrl;
    requests.clear();
    missed = 0;
    add(hello.requests);
    setUp(hello.app_id, hello.actions);
    connection("live", "Live");
  });
  events.addEventListener("requests", ({ data }) => {
    const changed = JSON.parse(data);
    missed += changed.missed;
    add(changed.requests);
  });
  events.addEventListener("state", ({ data }) => {
    for (const [name, section] of Object.entries(JSON.parse(data))) sections[name]?.(section);
  });
  events.addEventListener("error", () => {
    connection("lost", "Reconnecting");
    // The browser reconnects by itself unless it was refused.
    if (opened.readyState !== EventSource.CLOSED || events !== opened) return;
    events = null;
    setTimeout(connect, 2000);
  });
}

function connection(state, text) {
  const element = byId("connection");
  element.dataset.state = state;
  element.textContent = text;
}

function add(changed) {
  for (const request of changed) requests.set(request.number, request);
  while (requests.size > KEPT) requests.delete(requests.keys().next().value);
  draw();
}

function draw() {
  if (drawing || paused) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const wanted = byId("filter").value.trim().toLowerCase();
    const found = [...requests.values()].filter((request) => matches(request, wanted));
    found.sort((one, other) => other.number - one.number);
    show("requests", found.slice(0, SHOWN).map(requestRow), wanted ? "No request matches" : `Send a request to ${baseUrl}`);
    byId("requests-count").textContent = missed ? `${missed.toLocaleString("en")} too fast to be shown` : "";
  });
}

function matches(request, wanted) {
  if (!wanted) return true;
  const { method, path, route, outcome, status, result, fault } = request;
  return [method, path, route, outcome, status, result, fault].join(" ").toLowerCase().includes(wanted);
}

function requestRow(request) {
  return {
    key: request.number,
    cells: [
      time(request.at),
      status(request),
      mono(request.method),
      cell(request.path, { mono: true, wide: true }),
      cell(request.result, { mono: true }),
      request.fault ? badge(request.fault, "warn") : cell(""),
      number(request.ms),
    ],
  };
}

function status({ outcome, status: code }) {
  if (outcome !== "answered") return badge(outcome, outcome === "waiting" ? "wait" : "bad");
  return badge(String(code), code < 300 ? "ok" : code < 400 ? "plain" : code < 500 ? "warn" : "bad");
}

// The service repeats nothing, but it takes only 200 for an acceptance.
function deliveryResult({ status: code, error }) {
  return error ? badge(error, "bad") : badge(String(code), code === 200 ? "ok" : code < 500 ? "warn" : "bad");
}

function faultItem(fault) {
  const item = document.createElement("li");
  const title = document.createElement("p");
  title.append(pill({ text: fault.kind, badge: "warn" }), ` ${fault.routes}`);
  const details = [
    fault.left === null ? "until it is cancelled" : `${fault.left} more`,
    `${fault.hits} met it`,
    fault.status !== null && `status ${fault.status}`,
    fault.seconds !== null && `${fault.seconds} s`,
    fault.share !== null && `${fault.share * 100} % of requests`,
  ];
  const about = document.createElement("p");
  about.className = "muted";
  about.textContent = details.filter(Boolean).join(" · ");
  const text = document.createElement("div");
  text.append(title, about);
  const values = { number: fault.number };
  item.append(text, button({ text: "Cancel", action: "cancel-fault", values, label: `Cancel ${fault.kind}` }));
  item.dataset.state = JSON.stringify(fault);
  return item;
}

function plannedItem([route, left]) {
  const item = document.createElement("li");
  item.textContent = `Planned on ${route}: ${left} more steps`;
  item.dataset.state = item.textContent;
  return item;
}

function replace(list, items) {
  const states = (children) => [...children].map((child) => child.dataset.state).join();
  if (states(list.children) === states(items)) return;
  const focused = list.contains(document.activeElement);
  list.replaceChildren(...items);
  if (focused) (list.querySelector("button") ?? byId("actions")).focus();
}

function count(name, total, rows) {
  const all = total.toLocaleString("en");
  byId(`${name}-count`).textContent = total > rows ? `newest ${rows} of ${all}` : all;
}

byId("filter").addEventListener("input", draw);
byId("pause").addEventListener("click", ({ target }) => {
  paused = !paused;
  target.setAttribute("aria-pressed", String(paused));
  target.textContent = paused ? "Resume" : "Pause";
  say(paused ? "The requests are paused; the sandbox is not" : "The requests are live");
  draw();
});
byId("cancel-faults").addEventListener("click", () => act("cancel-faults", {}));
document.querySelector("main").addEventListener("click", ({ target }) => {
  if (target.dataset?.action && target.dataset.values) act(target.dataset.action, JSON.parse(target.dataset.values));
});
