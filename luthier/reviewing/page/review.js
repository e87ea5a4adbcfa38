"use strict";
// One row at a time: the page holds the row that is shown and a few around it, never the data.
const $ = (id) => document.getElementById(id);
const base = location.pathname;
const DONE = { keep: "Kept", edit: "Edited", drop: "Dropped", skip: "Skipped" };
const STATE = { undecided: "not decided", keep: "kept", edit: "edited", drop: "dropped", skip: "skipped", unreadable: "cannot be decided" };
const FILTERS = ["text", "state", "label", "finding", "source", "split", "reason", "number", "least", "most", "order"];
const AROUND = 3;
let start, view = 0, total = 0, at = 0, row = null, editing = false, busy = false, steps = 0, lint = "off";
const rows = new Map();

// --- what the server is asked ---------------------------------------------------------------------
async function ask(path, query, body) {
  const url = new URL(base + "api/" + path, location.href);
  for (const [name, value] of Object.entries(query || {})) url.searchParams.set(name, value);
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(url, { cache: "no-store", ...options });
  } catch {
    throw new Error("The server does not answer; what was not acknowledged is not saved. Start `luthier review` again and open its new address.");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

// One thing at a time: nobody decides about a row that is not shown yet. Steps are kept.
async function alone(job) {
  if (busy) return;
  busy = true;
  try { await job(); } catch (error) { steps = 0; say(error.message, true); } finally { busy = false; }
  if (steps) alone(walk);
}
function move(by) { steps += by; alone(walk); }
async function walk() {
  while (steps) {
    const by = Math.sign(steps);
    steps -= by;
    await show(at + by);
  }
}

function fetched(place) {
  if (!rows.has(place)) {
    const coming = ask("row", { view, at: place });
    coming.catch(() => rows.delete(place));
    rows.set(place, coming);
  }
  return rows.get(place);
}

// --- building elements: text is only ever set as text -----------------------------------------------
function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
const count = (n) => n.toLocaleString("en");
const plural = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;

function said(text) {
  const box = el("div", { class: "say", dir: "auto" });
  const wanted = $("text").value.trim();
  if (!wanted) { box.textContent = text; return box; }
  const pattern = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");
  let last = 0;
  for (const hit of text.matchAll(pattern)) {
    box.append(text.slice(last, hit.index), el("mark", null, hit[0]));
    last = hit.index + hit[0].length;
  }
  box.append(text.slice(last));
  return box;
}

// --- the row ----------------------------------------------------------------------------------------
async function show(place, { edit = false } = {}) {
  at = Math.max(0, Math.min(place, total));
  editing = false;
  if (at >= total) { row = null; showEnd(); return; }
  row = await fetched(at);
  for (const known of rows.keys()) if (Math.abs(known - at) > AROUND) rows.delete(known);
  draw(edit);
  for (const near of [at + 1, at + 2, at - 1]) if (near >= 0 && near < total) fetched(near).catch(() => {});
}

function draw(edit = false) {
  editing = edit;
  const parts = [placeLine(), ...notices()];
  if (row.shots.length) {
    parts.push(el("details", null,
      el("summary", null, `${plural(row.shots.length / 2, "solved example")} before it`),
      ...row.shots.map((turn) => turnBox(turn, -1))));
  }
  if (row.text !== null) parts.push(turnBox({ role: "text", content: row.text }, null));
  row.turns.forEach((turn, place) => parts.push(turnBox(turn, place)));
  if (!row.turns.length && row.text === null) parts.push(columnsBox());
  if (edit) parts.push(saveBox());
  const sheet = $("row");
  sheet.replaceChildren(...parts);
  sheet.classList.toggle("dropped", row.state === "drop");
  drawAbout();
  drawButtons();
  if (!edit) {
    $("note").value = row.decision && row.decision.note ? row.decision.note : "";
    scrollTo(0, 0);
    if (document.activeElement === document.body || sheet.contains(document.activeElement)) sheet.focus({ preventScroll: true });
  } else {
    const first = sheet.querySelector("textarea");
    if (first) { first.focus(); first.setSelectionRange(first.value.length, first.value.length); }
    else sheet.querySelector(".labels button, select")?.focus();
  }
}

function placeLine() {
  return el("p", { class: "place" },
    el("b", null, count(at + 1)), `of ${count(total)}${filtered() ? " found" : ""}`,
    el("code", null, row.where),
    row.split ? el("span", null, row.split) : null,
    el("span", { class: `stamp ${row.state}`, id: "stamp" }, STATE[row.state]));
}

function notices() {
  const found = [];
  if (row.reason) {
    found.push(el("p", { class: "notice" }, el("b", null, "Left out "), row.reason,
      row.known ? el("small", null, " Keep overrules the filter that said so; it does not overrule the model's limits or the splits.") : null));
  }
  if (!row.known) found.push(el("p", { class: "notice error" }, "This row cannot be decided about: it could not be read, or an older build left it out. Correct it in its file, or build again."));
  if (row.copies) found.push(el("p", { class: "notice" }, `${plural(row.copies, "other row")} ${row.copies === 1 ? "says" : "say"} the same and ${row.copies === 1 ? "shares" : "share"} the decision.`));
  return found;
}

const partsOf = (place) => row.editable.filter((part) => {
  if (part.turn === null) return place === null;
  if (part.turn >= 0) return part.turn === place;
  const last = row.turns.length - 1;
  return place === (part.turn === -1 ? last : lastAsked());
});
function lastAsked() {
  for (let n = row.turns.length - 2; n >= 0; n--) if (row.turns[n].role === "user") return n;
  return Math.max(0, row.turns.length - 2);
}

function turnBox(turn, place) {
  const parts = place === -1 ? [] : partsOf(place);
  const label = parts.find((part) => part.key === "label");
  const box = el("div", { class: `turn ${["user", "assistant", "system", "tool"].includes(turn.role) ? turn.role : ""}` });
  const changed = parts.some((part) => part.value !== part.original);
  box.append(el("p", { class: "who" }, el("span", null, turn.name ? `${turn.role}, ${turn.name}` : turn.role,
    turn.weight === 0 ? " (not trained)" : null), changed ? el("span", null, "edited") : null));
  const texts = parts.filter((part) => part !== label);
  if (editing && texts.length) {
    for (const part of texts) {
      const name = texts.length > 1 || part.key.startsWith("field:") ? part.name : `${part.name} text`;
      const area = el("textarea", { "data-key": part.key, dir: "auto", spellcheck: "true", "aria-label": name });
      area.value = part.value;
      box.append(part.key.startsWith("field:") ? el("label", { class: "part" }, part.name, area) : area);
    }
  }
  if (label) box.append(labelBox(label));
  else if (!(editing && texts.length)) box.append(said(turn.content));
  if (turn.calls) box.append(el("pre", null, turn.calls));
  return box;
}

function labelBox(part) {
  const was = part.value === part.original ? null : el("span", { class: "was" }, "was ", el("bdi", null, part.original || "(empty)"));
  if (start.labels.length > 12) {
    const select = el("select", { "aria-label": "Label", onchange: () => setLabel(select.value) },
      ...(start.labels.includes(part.value) ? [] : [el("option", { value: "" }, part.value || "(no label)")]),
      ...start.labels.map((name) => el("option", { value: name }, name)));
    select.value = start.labels.includes(part.value) ? part.value : "";
    return el("div", { class: "labels" }, select, was);
  }
  return el("div", { class: "labels", role: "group", "aria-label": "Label" },
    start.labels.includes(part.value) ? null : said(part.value),
    ...start.labels.map((name, n) => el("button", {
      type: "button", "data-label": name, "aria-pressed": String(name === part.value), onclick: () => setLabel(name),
    }, n < 9 ? el("kbd", null, String(n + 1)) : null, el("bdi", null, name))), was);
}

function columnsBox() {
  const box = el("div", { class: "turn" });
  for (const [name, value] of Object.entries(row.columns)) box.append(el("p", { class: "who" }, name), said(value));
  return box;
}

function saveBox() {
  const original = row.editable.some((part) => part.value !== part.original);
  return el("div", { class: "saving" },
    el("button", { type: "button", class: "do edit", id: "save", onclick: () => save() }, "Save", el("kbd", null, "Ctrl \u21b5")),
    el("button", { type: "button", class: "plain", id: "cancel", onclick: () => cancel() }, "Cancel ", el("kbd", null, "Esc")),
    original ? el("button", { type: "button", class: "plain", id: "original", onclick: () => restore() }, "Back to the original") : null);
}

// --- beside the row -----------------------------------------------------------------------------------
function pairs(title, entries) {
  const rest = entries.filter(([, value]) => value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length));
  if (!rest.length) return null;
  return el("div", null, el("h2", null, title), el("dl", null, ...rest.map(([name, value]) => {
    const text = Array.isArray(value) ? value.join("\n") : String(value);
    return el("div", null, el("dt", null, name), el("dd", { class: text.length > 200 ? "long" : null, dir: "auto" }, text));
  })));
}

function drawAbout() {
  const parts = [];
  if (row.findings.length) {
    parts.push(el("div", null, el("h2", null, "Found by lint"), el("ul", null, ...row.findings.map((found) =>
      el("li", { class: found.severity }, el("b", null, found.what), found.said && found.said !== found.what ? ` ${found.said}` : "")))));
  } else if (lint === "running") {
    parts.push(el("div", null, el("h2", null, "Lint is still looking")));
  }
  const decision = row.decision;
  if (decision) {
    parts.push(pairs("Decision", [["what", DONE[decision.decision].toLowerCase()], ["by", decision.who], ["when", decision.when && decision.when.replace("T", " ").replace("Z", " UTC")], ["note", decision.note]]));
    const edited = row.editable.filter((part) => part.value !== part.original);
    if (edited.length) parts.push(pairs("Before it was edited", edited.map((part) => [part.name, part.original || "(empty)"])));
  }
  parts.push(pairs("Scores", Object.entries(row.scores)));
  parts.push(pairs("Where it is from", [
    ["file", row.where], ["split", row.split], ["template", row.template], ["licence", row.terms.licence],
    ["commercial", row.terms.commercial === "unclear" && !row.terms.licence ? null : row.terms.commercial],
    ["written by", row.terms.generator], ["its terms", row.terms.generator_terms], ["made from", row.parents],
    ["group", row.group], ["id", row.id]]));
  parts.push(pairs("How a model wrote it", Object.entries(row.lineage)));
  const others = Object.entries(row.columns).filter(([name]) => !(name in row.scores));
  if (others.length && (row.turns.length || row.text !== null)) parts.push(pairs("Other columns", others));
  if (row.tools) parts.push(el("details", null, el("summary", null, "Tools"), el("pre", null, row.tools)));
  $("about").replaceChildren(...parts.filter(Boolean));
}

function drawButtons() {
  for (const button of document.querySelectorAll("[data-do]")) {
    const what = button.dataset.do;
    button.disabled = !row || !row.known || (what === "edit" && !row.editable.length) || (what === "skip" && editing);
    button.setAttribute("aria-pressed", String(Boolean(row) && row.state === what));
  }
  // What was typed is saved or left, never lost on the way to another row.
  $("back").disabled = editing || at === 0;
  $("next").disabled = editing || at >= total;
  $("undo").disabled = editing;
  $("filters").inert = editing;
}

function showEnd() {
  const p = start.progress;
  const left = p.undecided;
  const box = el("div", { class: "ending" });
  if (!total) {
    box.append(el("h2", null, filtered() ? "No row fits these filters" : "There are no rows"));
    if (filtered()) box.append(el("button", { type: "button", class: "plain", onclick: () => alone(clear) }, "Clear the filters"));
  } else {
    box.append(el("h2", null, left ? "That was the last row here" : "Every row is decided about"),
      el("p", { class: "gist" }, `${count(p.keep)} kept, ${count(p.edit)} edited, ${count(p.drop)} dropped, ${count(p.skip)} skipped${left ? `; ${count(left)} left to decide` : ""}.`),
      el("p", { class: "quiet" }, "In a recipe, ", el("code", null, start.apply), " applies them."));
    if (left) box.append(el("button", { type: "button", class: "plain", onclick: () => alone(() => only("undecided")) }, "Go through those left"));
    if (p.skip) box.append(el("button", { type: "button", class: "plain", onclick: () => alone(() => only("skip")) }, "Go through those skipped"));
  }
  $("row").replaceChildren(box);
  $("row").classList.remove("dropped");
  $("about").replaceChildren();
  $("note").value = "";
  drawButtons();
  scrollTo(0, 0);
}

// --- deciding -------------------------------------------------------------------------------------------
function decide(decision, values) {
  return alone(async () => {
    if (!row || !row.known) return;
    const where = row.where;
    const done = await ask("decide", { view, at }, { id: row.id, decision, note: $("note").value, ...(values ? { values } : {}) });
    rows.delete(at);
    document.activeElement?.blur?.();
    advance(done.progress);
    say(`${DONE[done.state]} ${where}. u takes it back.`);
    await show(at + 1);
  });
}

function typed() {
  const values = {};
  const areas = new Map([...$("row").querySelectorAll("textarea[data-key]")].map((area) => [area.dataset.key, area.value]));
  const chosen = $("row").querySelector(".labels [aria-pressed=true]")?.dataset.label ?? $("row").querySelector(".labels select")?.value;
  for (const part of row.editable) {
    let now = areas.has(part.key) ? areas.get(part.key) : part.value;
    if (part.key === "label" && chosen) now = chosen;
    if (now !== part.original) values[part.key] = now;
  }
  return values;
}
const save = () => decide("edit", typed());
const cancel = () => { draw(); };
function restore() {
  for (const area of $("row").querySelectorAll("textarea[data-key]")) area.value = row.editable.find((part) => part.key === area.dataset.key).original;
  const label = row.editable.find((part) => part.key === "label");
  if (label) press(label.original);
}
function press(label) {
  for (const button of $("row").querySelectorAll("[data-label]")) button.setAttribute("aria-pressed", String(button.dataset.label === label));
  const select = $("row").querySelector(".labels select");
  if (select) select.value = label;
}
function setLabel(label) {
  if (!row || !row.known || !row.editable.some((part) => part.key === "label") || !start.labels.includes(label)) return;
  press(label);
  if (!editing) decide("edit", typed());
}

function undo() {
  return alone(async () => {
    const done = await ask("undo", { view }, {});
    advance(done.progress);
    if (!done.undone) { say("There is nothing to undo."); return; }
    rows.clear();
    say(`Undone: ${done.where || "the last row"} is no longer ${STATE[done.undone]}.`);
    if (done.at === null) { await clear(false); return; }
    await show(done.at);
  });
}

// --- filters ----------------------------------------------------------------------------------------------
const filtered = () => FILTERS.some((name) => name !== "order" && $(name).value);
function query() {
  const found = {};
  for (const name of FILTERS) if ($(name).value) found[name] = $(name).value;
  return found;
}
async function look({ first = false } = {}) {
  const asked = query();
  const found = await ask("view", asked);
  ({ view, total } = found);
  rows.clear();
  advance(found.progress);
  const chosen = Object.keys(asked).filter((name) => !["least", "most", "order"].includes(name)).length;
  $("filters-count").hidden = !chosen;
  $("filters-count").textContent = chosen;
  $("range").hidden = !$("number").value;
  history.replaceState(null, "", chosen ? `#${new URLSearchParams(asked)}` : location.pathname);
  await show(first ? 0 : found.at ?? (filtered() ? 0 : total));
}
async function clear(resume = true) {
  for (const name of FILTERS) $(name).value = "";
  await look({ first: !resume });
}
async function only(state) {
  for (const name of FILTERS) $(name).value = "";
  $("state").value = state;
  await look({ first: true });
}
function fill(name, entries, any) {
  const select = $(name), before = select.value;
  select.replaceChildren(el("option", { value: "" }, any), ...entries.map(([value, n]) =>
    el("option", { value }, `${name === "state" ? STATE[value] : value || "(empty)"}${n === undefined ? "" : ` (${count(n)})`}`)));
  select.value = entries.some(([value]) => value === before) ? before : "";
  select.disabled = !entries.length;
  // What all rows share is nothing to choose by.
  select.parentElement.hidden = name !== "finding" && entries.length < (name === "number" ? 1 : 2);
}
function fillAll(facets) {
  fill("state", facets.state.filter(([, n]) => n), "any");
  for (const name of ["label", "source", "split", "reason"]) fill(name, facets[name], "any");
  const looking = { running: "still looking", failed: `none: ${facets.lint.why}`, off: "not looked for", done: facets.finding.length ? "any" : "nothing found" };
  fill("finding", facets.finding, looking[facets.lint.state]);
  lint = facets.lint.state;
}
function openFilters(open = $("filters").hidden) {
  $("filters").hidden = !open;
  $("filters-button").setAttribute("aria-expanded", String(open));
  if (open) ask("facets").then(fillAll).catch(() => {});
}

// --- progress ---------------------------------------------------------------------------------------------
function advance(p) {
  start.progress = p;
  const width = (n) => `${p.rows ? (100 * n) / p.rows : 0}%`;
  const bars = $("meter").children;
  [p.keep, p.edit, p.drop, p.skip].forEach((n, i) => { bars[i].style.width = width(n); });
  const decided = p.rows - p.undecided;
  $("meter").setAttribute("aria-label", `${count(decided)} of ${count(p.rows)} rows decided`);
  $("tally").replaceChildren(el("b", null, count(decided)), ` of ${count(p.rows)}`,
    ` \u00b7 ${count(p.keep)} kept, ${count(p.edit)} edited, ${count(p.drop)} dropped`,
    p.pace ? ` \u00b7 ${Math.round(p.pace)} a minute` : "");
  if (lint === "running" && p.lint !== "running") linted();
}
async function linted() {
  lint = "done";
  fillAll(await ask("facets"));
  rows.clear();
  if (row && !editing) { row = await fetched(at); drawAbout(); }
}
function say(text, bad = false) {
  $("said").textContent = text;
  $("said").classList.toggle("bad", bad);
}

// --- keys and buttons ---------------------------------------------------------------------------------------
const KEYS = {
  k: () => decide("keep"), d: () => decide("drop"), s: () => decide("skip"), " ": () => decide("skip"),
  e: () => { if (row && row.known && row.editable.length) draw(true); },
  u: undo, ArrowLeft: () => move(-1), ArrowRight: () => move(1),
  j: () => alone(async () => { const found = await ask("next", { view, at }); await show(found.at ?? total); }),
  n: () => $("note").focus(), f: () => openFilters(),
  "/": () => { openFilters(true); $("text").focus(); $("text").select(); },
  "?": () => $("help").showModal(),
};
document.addEventListener("keydown", (event) => {
  if ($("help").open) return;
  const field = event.target.closest?.("input, textarea, select");
  if (editing && event.key === "Escape") { event.preventDefault(); cancel(); return; }
  if (editing && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); save(); return; }
  if (event.key === "Escape") { event.preventDefault(); if (field) field.blur(); else if (!$("filters").hidden) openFilters(false); return; }
  if (field) {
    if (event.key === "Enter" && field.matches("input")) { event.preventDefault(); field.blur(); }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[1-9]$/.test(event.key) && start.labels.length) { event.preventDefault(); setLabel(start.labels[event.key - 1]); return; }
  if (editing || (event.key === " " && event.target.closest?.("button, summary"))) return;
  const job = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  // A key that is held down moves, and does not decide.
  if (job && start) { event.preventDefault(); if (!event.repeat || event.key.startsWith("Arrow")) job(); }
});
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => {
    const what = button.dataset.do;
    if (editing && what !== "drop") save();
    else if (what === "edit") KEYS.e();
    else decide(what);
  });
}
// A button that the mouse pressed must not take the next space bar.
document.addEventListener("click", (event) => { if (event.detail && event.target.closest("button")) document.activeElement.blur(); });
addEventListener("beforeunload", (event) => {
  if (editing && row.editable.some((part) => (typed()[part.key] ?? part.original) !== part.value)) event.preventDefault();
});
$("back").addEventListener("click", () => move(-1));
$("next").addEventListener("click", () => move(1));
$("undo").addEventListener("click", undo);
$("filters-button").addEventListener("click", () => openFilters());
$("help-button").addEventListener("click", () => $("help").showModal());
$("clear").addEventListener("click", () => alone(clear));
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", () => alone(() => look()));

(async () => {
  start = await ask("start");
  $("file").textContent = start.decisions;
  $("apply").textContent = start.apply;
  document.querySelector(".of-labels").hidden = !start.labels.length;
  fill("number", start.numbers.map((name) => [name]), "none");
  fillAll(start.facets);
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const name of FILTERS) if (wanted.has(name)) $(name).value = wanted.get(name);
  advance(start.progress);
  await look();
  if (start.unmatched) say(`${plural(start.unmatched, "decision")} in the file match no row of this data.`, true);
  else if (start.progress.undecided < start.progress.rows && row) say(`Going on at row ${count(at + 1)}.`);
  const waiting = setInterval(() => {
    if (lint !== "running") { clearInterval(waiting); return; }
    ask("progress").then(advance).catch(() => {});
  }, 1500);
})().catch((error) => say(error.message, true));
