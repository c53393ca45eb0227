// The page of the service: a list, a form, and one sweep live. The token stays in this tab, and travels only as a header.
"use strict";

const $ = (id) => document.getElementById(id);
const SECTIONS = ["sign-in", "list", "submit", "sweep"];
const LIST_MS = 3000, CURVES_MS = 4000, RETRY_MS = 2000, EVENTS_SHOWN = 300, TRIALS_SHOWN = 300;
const LINK_TRIES = 5; // after the end: the service asks MLflow when it is first asked for links

let visit = 0; // counts views, so that an answer for an earlier one is dropped
let shownCurves = null;
let links = null; // into MLflow

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the service answers ${status}`);
    this.status = status;
    this.errors = problem.errors ?? [];
  }
}

/** Whether asking again cannot help. */
const isFinal = (error) => error instanceof Refused && error.status < 500 && error.status !== 429;

/** Ask the service; throw Refused with its problem document. */
async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const token = sessionStorage.getItem("token");
  const options = { method, signal, headers: { Authorization: `Bearer ${token}`, ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path, options);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    if (answer.status === 401) signOut(problem.detail);
    throw new Refused(answer.status, problem);
  }
  return answer;
}

function alertOf(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

function signOut(why = "") {
  sessionStorage.removeItem("token");
  show("sign-in");
  alertOf(why);
}

function show(name) {
  for (const section of SECTIONS) $(section).hidden = section !== name;
  $("leave").hidden = name === "sign-in";
  alertOf("");
}

/** Do what the address says. */
async function route() {
  const mine = ++visit;
  if (!sessionStorage.getItem("token")) return show("sign-in");
  const [, page, id] = location.hash.split("/");
  try {
    if (page === "sweep" && id) await showSweep(id, mine);
    else if (page === "submit") showForm();
    else await showList(mine);
  } catch (error) {
    if (mine === visit) alertOf(error.message);
  }
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const number = (value, digits = 2) => (value === null || value === undefined ? "" : Number(value).toFixed(digits));
const when = (ms) => new Date(ms).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

function cell(row, text, kind = "") {
  const made = row.insertCell();
  made.textContent = text;
  made.className = kind;
  return made;
}

// The list

async function showList(mine) {
  show("list");
  document.title = "Sweeps · abel";
  let pages = 1;
  $("older").onclick = () => pages++;
  while (mine === visit) {
    try {
      await fillList(mine, pages);
      alertOf("");
    } catch (error) {
      if (isFinal(error)) throw error;
      alertOf(`The service does not answer (${error.message}); trying again.`);
    }
    await pause(LIST_MS);
  }
}

async function fillList(mine, pages) {
  const items = [];
  let cursor = null;
  for (let page = 0; page < pages && (page === 0 || cursor); page++) {
    const answer = await (await ask(`/v1/sweeps?limit=50${cursor ? `&cursor=${cursor}` : ""}`)).json();
    items.push(...answer.items);
    cursor = answer.next;
  }
  if (mine !== visit) return;
  const focused = document.activeElement?.getAttribute("href");
  const rows = document.createElement("tbody");
  for (const one of items) {
    const row = rows.insertRow(), link = document.createElement("a");
    link.href = `#/sweep/${one.id}`;
    link.textContent = one.name;
    row.insertCell().append(link);
    cell(row, one.phase, one.phase);
    cell(row, one.best === null || one.best === undefined ? "" : `${number(one.best)} ${one.unit}`, "number");
    cell(row, one.sweep ? `${one.sweep.ended}/${one.sweep.trials}` : "", "number");
    cell(row, one.sweep ? `${one.sweep.covered}/${one.sweep.total}` : "", "number");
    cell(row, when(one.created_ms));
    cell(row, one.why ?? "");
  }
  $("rows").replaceChildren(...rows.rows);
  if (focused) document.querySelector(`#rows a[href="${CSS.escape(focused)}"], #rows a[href="${focused}"]`)?.focus();
  $("empty").hidden = items.length > 0;
  $("older").hidden = !cursor;
}

// The form

function showForm() {
  show("submit");
  document.title = "Submit · abel";
  $("verdict").replaceChildren();
  $("spec").focus();
}

function asked() {
  const body = { spec: $("spec").value, priority: Number($("priority").value || 0) };
  if ($("workers").value) body.workers = Number($("workers").value);
  return body;
}

async function send(path, then) {
  const verdict = $("verdict");
  verdict.replaceChildren();
  try {
    then(await (await ask(path, { method: "POST", body: asked(), headers: { "Idempotency-Key": crypto.randomUUID() } })).json());
  } catch (error) {
    const list = document.createElement("ul");
    list.className = "faults failed";
    for (const fault of error.errors?.length ? error.errors : [{ pointer: "", detail: error.message }]) {
      const item = list.appendChild(document.createElement("li"));
      const field = fault.pointer.replace(/^\/spec\//, "").replaceAll("/", ".");
      item.textContent = `${field && field !== "/spec" ? `${field}: ` : ""}${fault.detail} `;
      if (fault.line) item.append(lineButton(fault.line));
    }
    verdict.append(list);
  }
}

/** A button that selects a line of the spec. */
function lineButton(line) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `line ${line}`;
  button.onclick = () => {
    const area = $("spec"), lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(start, start + lines[line - 1].length);
    area.scrollTop = ((line - 4) / lines.length) * area.scrollHeight;
  };
  return button;
}

// One sweep

async function showSweep(id, mine) {
  show("sweep");
  $("events").replaceChildren();
  $("log").hidden = true;
  shownCurves = links = null;
  showLinks();
  $("plots").replaceChildren();
  $("legend").replaceChildren();
  $("tree").replaceChildren();
  await fillSweep(id, mine);
  $("main").focus({ preventScroll: true });
  for (const button of $("commands").querySelectorAll("[data-command]"))
    button.onclick = () => command(id, button.dataset.command, mine);
  $("show-report").onclick = () => openReport(id);
  $("show-log").onclick = () => toggleLog(id);
  $("best").onchange = () => fillCurves(id, mine).catch((error) => alertOf(error.message));
  follow(id, mine);
  refresh(id, mine);
}

async function fillSweep(id, mine) {
  const { submission: one, detail, options } = await (await ask(`/v1/sweeps/${id}`)).json();
  if (mine !== visit) return one;
  document.title = `${one.name} · abel`;
  $("name").textContent = one.name;
  $("title").textContent = one.title;
  phase(one);
  const facts = [["id", one.id], ["owner", one.owner], ["submitted", when(one.created_ms)], ["priority", one.priority]];
  if (one.sweep)
    facts.push(
      ["trials", `${one.sweep.ended} of ${one.sweep.trials} done${one.sweep.failed ? `, ${one.sweep.failed} failed` : ""}`],
      ["epochs", `${one.sweep.covered} of ${one.sweep.total} recorded, ${one.sweep.trained} trained`],
    );
  if (options.workers || one.workers) facts.push(["workers", one.workers ?? options.workers]);
  $("facts").replaceChildren(
    ...facts.flatMap(([name, value]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      [term.textContent, text.textContent] = [name, value];
      return [term, text];
    }),
  );
  const arms = document.createElement("tbody");
  for (const arm of detail?.arms ?? []) {
    const row = arms.insertRow();
    cell(row, arm.arm);
    const settings = Object.entries(arm.settings ?? {}).map(([path, value]) => `${path.split(".").pop()}=${value}`);
    cell(row, settings.join(" ") || "—");
    cell(row, number(arm.minimum_error), "number");
    cell(row, number(arm.final_error) + (arm.final_sd === null ? "" : ` ± ${number(arm.final_sd)}`), "number");
    cell(row, `${arm.ended}/${arm.trials}`, "number");
  }
  $("arms").replaceChildren(...arms.rows);
  fillTrials(detail?.trials ?? []);
  return one;
}

function fillTrials(trials) {
  const rows = document.createElement("tbody");
  for (const trial of trials.slice(0, TRIALS_SHOWN)) {
    const row = rows.insertRow(), link = row.insertCell().appendChild(document.createElement("a"));
    link.textContent = trial.name;
    link.dataset.trial = trial.name;
    cell(row, trial.status, trial.status);
    cell(row, `${trial.epoch}/${trial.epochs}`, "number");
    cell(row, number(trial.minimum_error), "number");
  }
  $("trials").replaceChildren(...rows.rows);
  $("trials-left").textContent = trials.length > TRIALS_SHOWN ? `the first ${TRIALS_SHOWN} of ${trials.length}` : "";
  showLinks();
}

/** Lead from the sweep and its trials to where MLflow shows them, as far as that is known. */
function showLinks() {
  const point = (link, place) => {
    if (place) Object.assign(link, { href: place, target: "_blank", rel: "noopener noreferrer" });
    else link.removeAttribute("href");
  };
  point($("tracked"), links?.sweep);
  $("tracked").hidden = !links;
  for (const link of $("trials").querySelectorAll("[data-trial]")) point(link, links?.trials[link.dataset.trial]);
}

/** Ask for the links into MLflow; true if there are some. */
async function fillLinks(id, mine) {
  const found = await (await ask(`/v1/sweeps/${id}/links`)).json();
  if (mine !== visit) return true;
  if (found) links = found;
  showLinks();
  return Boolean(found);
}

function phase(one) {
  $("phase").textContent = one.phase;
  $("phase").className = `phase ${one.phase}`;
  $("why").textContent = one.why ?? "";
  $("why").hidden = !one.why;
  const { ended } = one;
  const may = { pause: !ended && one.wanted === "running", resume: !ended && one.wanted === "paused", cancel: !ended && one.wanted !== "cancelled" };
  for (const button of $("commands").querySelectorAll("[data-command]")) button.disabled = !may[button.dataset.command];
  $("show-report").disabled = !one.sweep;
}

async function command(id, name, mine) {
  if (name === "cancel" && !confirm("Cancel this sweep for good? Recorded epochs are kept.")) return;
  try {
    phase(await (await ask(`/v1/sweeps/${id}/${name}`, { method: "POST" })).json());
    if (mine === visit) await fillSweep(id, mine);
  } catch (error) {
    alertOf(error.message);
  }
}

async function openReport(id) {
  $("show-report").disabled = true;
  try {
    const page = await (await ask(`/v1/sweeps/${id}/report`)).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(page);
    link.target = "_blank";
    link.rel = "noopener";
    link.click();
  } catch (error) {
    alertOf(error.message);
  }
  $("show-report").disabled = false;
}

async function toggleLog(id) {
  const log = $("log");
  log.hidden = !log.hidden;
  if (!log.hidden) {
    log.textContent = (await (await ask(`/v1/sweeps/${id}/log`)).text()) || "Nothing was printed yet.";
    log.scrollTop = log.scrollHeight;
  }
}

/** Draw the curves again while the sweep runs. */
async function refresh(id, mine) {
  let before = "", tries = 0;
  while (mine === visit) {
    try {
      const one = await fillSweep(id, mine);
      const now = JSON.stringify(one.sweep);
      if (one.sweep && now !== before) {
        await fillCurves(id, mine);
        before = now;
      }
      const linked = !one.sweep || (await fillLinks(id, mine));
      if (one.ended && (linked || ++tries === LINK_TRIES)) return;
    } catch (error) {
      if (isFinal(error)) return alertOf(error.message);
    }
    await pause(CURVES_MS);
  }
}

async function fillCurves(id, mine) {
  const [curves, tree] = await Promise.all(
    [`curves?best=${$("best").value}`, "tree"].map(async (what) => (await ask(`/v1/sweeps/${id}/${what}`)).json()),
  );
  if (mine !== visit || !curves) return;
  shownCurves = { curves, tree };
  draw();
}

/** Draw what is known, by the filters: they reach every plot. */
function draw() {
  if (!shownCurves) return;
  const { curves, tree } = shownCurves, wanted = $("filter").value.toLowerCase();
  const named = curves.settings.map((setting, index) => ({ setting, colour: colourOf(index), label: `${setting.arm} ${setting.label === "—" ? "" : setting.label}`.trim() }));
  const shown = named.filter(({ label }) => label.toLowerCase().includes(wanted));
  $("legend").replaceChildren(
    ...shown.map(({ setting, colour, label }) => {
      const item = document.createElement("span"), swatch = document.createElement("i");
      swatch.style.background = colour;
      const best = setting.best === null ? "" : ` ${number(setting.best)}`;
      item.append(swatch, `${label} (${setting.seeds} seed${setting.seeds > 1 ? "s" : ""})${best}`);
      return item;
    }),
  );
  if (curves.settings_in_all > curves.settings.length) $("legend").append(`${curves.settings_in_all - curves.settings.length} more settings`);
  drawCurves($("plots"), curves, shown, { log: $("log-axis").checked, bands: $("bands").checked });
  drawTree($("tree"), tree);
}

/** Follow the events of a sweep: a stream with the token in a header, continued after the last event received. */
async function follow(id, mine) {
  let last = 0;
  const stop = new AbortController();
  addEventListener("hashchange", () => stop.abort(), { once: true });
  while (mine === visit) {
    try {
      const answer = await ask(`/v1/sweeps/${id}/events`, { headers: { "Last-Event-ID": String(last) }, signal: stop.signal });
      for await (const { name, number: event, data } of messages(answer.body)) {
        if (mine !== visit) return;
        if (name === "submission") {
          phase(data);
          if (data.ended) return;
        } else {
          last = event;
          tell(data);
        }
      }
    } catch (error) {
      if (mine !== visit || isFinal(error)) return;
    }
    await pause(RETRY_MS);
  }
}

/** Yield the messages of a stream of server-sent events. */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      if (fields.data) yield { name: fields.event, number: Number(fields.id ?? 0), data: JSON.parse(fields.data) };
    }
  }
}

const DECISIONS = { 1: "minimum of the norm", 2: "decay", 4: "last decay", 8: "milestone", 16: "decay on a plateau" };

/** Add an event to the list, newest first. */
function tell(event) {
  const { payload } = event;
  if (event.kind === "progress") return; // the figures above say it
  let text = event.kind.replaceAll("_", " ");
  if (event.kind === "schedule") {
    const flags = Object.keys(DECISIONS).filter((flag) => payload.event & flag);
    text = `${flags.map((flag) => DECISIONS[flag]).join(", ") || "decision"} at epoch ${payload.epoch}`;
  } else if (event.kind === "trial_ended") text = `${payload.status} at epoch ${payload.epoch}${payload.error ? `: ${payload.error.split("\n")[0]}` : ""}`;
  else if (event.kind === "incident") text = payload.text;
  const item = document.createElement("li"), time = document.createElement("time");
  time.textContent = new Date(event.at_ms).toLocaleTimeString();
  item.append(time, `${event.trial ? `${event.trial}: ` : ""}${text}`);
  $("events").prepend(item);
  while ($("events").childElementCount > EVENTS_SHOWN) $("events").lastElementChild.remove();
}

$("token-form").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("token").value = "";
  route();
};
$("spec-form").onsubmit = (event) => {
  event.preventDefault();
  send("/v1/sweeps", (one) => (location.hash = `#/sweep/${one.id}`));
};
$("validate").onclick = () =>
  send("/v1/validate", (found) => ($("verdict").textContent = `Valid: ${found.trials} trials, ${found.epochs_naive} epochs before sharing. ${found.notes.join(" ")}`));
$("leave").onclick = () => signOut();
for (const name of ["filter", "log-axis", "bands"]) $(name).oninput = draw;
dark.addEventListener("change", draw);
addEventListener("resize", draw);
addEventListener("hashchange", route);
route();
