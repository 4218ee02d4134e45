// The forms of the actions, built from what the sandbox says it offers, and the credentials that each action needs.

const byId = (id) => document.getElementById(id);
const message = byId("message");
const confirmations = new Map();
let credentials = null;
let knownAppId = "";
let built = "";
let rooms = [];
let fading = 0;

export function setUp(appId, actions) {
  knownAppId = appId;
  // After a reconnect, what was typed stays.
  const described = JSON.stringify(actions);
  if (described === built) return;
  built = described;
  const forms = byId("forms");
  forms.replaceChildren();
  for (const action of actions) {
    if (action.confirm) confirmations.set(action.name, action);
    if (action.title) forms.append(panel(action));
  }
  forms.querySelector("details")?.setAttribute("open", "");
}

export function setRooms(rows) {
  rooms = rows;
  document.querySelectorAll("select[data-rooms]").forEach(fillRooms);
  fill(byId("room-ids"), rooms.map((room) => [room.id, room.name]));
}

/** Run an action; returns whether it was done. */
export async function act(name, values) {
  const asked = confirmations.get(name);
  if (asked && !(await confirmed(asked))) return false;
  let problem = "";
  for (;;) {
    if (!credentials) {
      const given = await ask(problem);
      if (!given) return false;
      credentials = given;
    }
    let response;
    let answer;
    try {
      response = await fetch(`/console/actions/${name}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: credentials },
        body: JSON.stringify(values),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
      answer = await response.json();
    } catch {
      say("The sandbox did not respond. Does it still run?", true);
      return false;
    }
    if (response.status === 401) {
      forget();
      problem = answer.error;
      continue;
    }
    byId("credentials-button").textContent = "Forget credentials";
    say(response.ok ? answer.message : answer.error, !response.ok);
    return response.ok;
  }
}

export function say(text, failed = false) {
  message.classList.toggle("failed", failed);
  message.textContent = failed ? `Not done: ${text}` : text;
  clearTimeout(fading);
  fading = setTimeout(() => {
    message.textContent = "";
  }, failed ? 30_000 : 8_000);
}

byId("credentials-button").addEventListener("click", () => {
  if (!credentials) {
    act("check", {});
    return;
  }
  forget();
  say("The credentials are forgotten");
});

function forget() {
  credentials = null;
  byId("credentials-button").textContent = "Enter credentials";
}

async function ask(problem) {
  byId("app-id").value ||= knownAppId;
  byId("app-key").value = "";
  byId("credentials-problem").textContent = problem;
  const given = await opened(byId("credentials"), byId("app-key"));
  const login = new TextEncoder().encode(`${byId("app-id").value.trim()}:${byId("app-key").value.trim()}`);
  byId("app-key").value = "";
  return given ? `Basic ${btoa(String.fromCharCode(...login))}` : null;
}

function confirmed(action) {
  byId("confirm-title").textContent = action.title;
  byId("confirm-text").textContent = action.confirm;
  byId("confirm-button").textContent = action.button;
  return opened(byId("confirm"), byId("confirm").querySelector("[data-cancel]"));
}

/** Show a dialog; returns whether it was submitted. */
function opened(dialog, first) {
  return new Promise((resolve) => {
    const form = dialog.querySelector("form");
    let submitted = false;
    const submit = (event) => {
      event.preventDefault();
      submitted = true;
      dialog.close();
    };
    const cancel = () => dialog.close();
    form.addEventListener("submit", submit);
    dialog.querySelector("[data-cancel]").addEventListener("click", cancel);
    dialog.addEventListener(
      "close",
      () => {
        form.removeEventListener("submit", submit);
        dialog.querySelector("[data-cancel]").removeEventListener("click", cancel);
        resolve(submitted);
      },
      { once: true },
    );
    dialog.showModal();
    first.focus();
  });
}

function panel(action) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = action.title;
  const form = document.createElement("form");
  form.dataset.action = action.name;
  for (const field of action.fields) form.append(row(action, field));
  const submit = document.createElement("button");
  submit.type = "submit";
  submit.textContent = action.button;
  if (action.confirm) submit.className = "danger";
  form.append(submit);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await act(action.name, valuesOf(form, action.fields));
    } finally {
      submit.disabled = false;
      submit.focus();
    }
  });
  details.append(summary, form);
  return details;
}

function row(action, field) {
  const wrapper = document.createElement("div");
  wrapper.className = `field ${field.kind}`;
  const input = control(field);
  input.id = `${action.name}-${field.name}`;
  input.name = field.name;
  input.required = field.required;
  const label = document.createElement("label");
  label.htmlFor = input.id;
  label.textContent = field.label;
  wrapper.append(...(field.kind === "toggle" ? [input, label] : [label, input]));
  const explained = Object.values(field.choices).some(Boolean);
  if (field.hint || explained) {
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.id = `${input.id}-hint`;
    hint.textContent = field.hint;
    input.setAttribute("aria-describedby", hint.id);
    wrapper.append(hint);
    const explain = () => {
      hint.textContent = field.choices[input.value] || field.hint;
    };
    if (explained) {
      input.addEventListener("change", explain);
      explain();
    }
  }
  return wrapper;
}

function control(field) {
  if (field.kind === "choice" || field.kind === "room") {
    const select = document.createElement("select");
    for (const value of Object.keys(field.choices)) select.add(new Option(value, value));
    if (field.kind === "room") {
      select.dataset.rooms = "";
      fillRooms(select);
    }
    if (field.default !== null) select.value = field.default;
    return select;
  }
  const input = document.createElement("input");
  input.autocomplete = "off";
  input.type = { toggle: "checkbox", number: "number", url: "url" }[field.kind] ?? "text";
  if (field.kind === "room-id") input.setAttribute("list", "room-ids");
  if (field.kind === "toggle") input.checked = field.default === true;
  else if (field.default !== null) input.value = field.default;
  if (field.kind === "number") {
    input.min = field.minimum;
    input.max = field.maximum;
    input.step = field.whole ? 1 : "any";
    input.inputMode = field.whole ? "numeric" : "decimal";
  }
  return input;
}

function fillRooms(select) {
  const chosen = select.value;
  const options = [["", "A new room"], ...rooms.map((room) => [room.id, `${room.name} (…${room.id.slice(-6)})`])];
  if (!fill(select, options)) return;
  select.value = options.some(([value]) => value === chosen) ? chosen : "";
}

/** Replace the options of a list; returns whether they were others. */
function fill(list, options) {
  const same =
    list.options.length === options.length &&
    options.every(([value, text], index) => list.options[index].value === value && list.options[index].text === text);
  if (!same) list.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  return !same;
}

function valuesOf(form, fields) {
  const values = {};
  for (const field of fields) {
    const input = form.elements.namedItem(field.name);
    if (field.kind === "toggle") values[field.name] = input.checked;
    else if (input.value === "") values[field.name] = null;
    else values[field.name] = field.kind === "number" ? Number(input.value) : input.value;
  }
  return values;
}
