"use strict";

const el = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
const seconds = (value) => (value === null ? "–" : `${value.toFixed(1)} s`);
const share = (value) => (value === null ? "–" : `${Math.round(value * 100)} %`);

function showKpis(kpis) {
  const rows = [
    ["Incidents", kpis.incidents],
    ["Detection (mean)", seconds(kpis.detection_s)],
    ["Cause after detection", seconds(kpis.cause_s)],
    ["Mitigation (mean)", seconds(kpis.mitigation_s)],
    ["Proof (mean)", seconds(kpis.verification_s)],
    ["Fixed without a person", share(kpis.automation_rate)],
    ["Actions, of these not fixed", `${kpis.actions}, ${kpis.actions_not_fixed}`],
  ];
  document.getElementById("kpis").replaceChildren(
    ...rows.map(([name, value]) => {
      const box = el("div");
      box.append(el("dt", name), el("dd", String(value)));
      return box;
    }),
  );
}

function card(incident, entries) {
  const box = el("article");
  const isOpen = incident.closed_at === null;
  box.append(el("h3", `#${incident.id}  ${incident.title}`));
  const state = el("p", isOpen ? `● ${incident.state}` : `✓ closed${incident.verdict ? `, ${incident.verdict.replace("_", " ")}` : ""}`);
  state.className = `mark ${isOpen ? "bad" : "good"}`;
  const since = el("span", `  severity ${incident.severity}, since ${clock(incident.onset)}`, "soft");
  state.append(since);
  box.append(state);
  if (incident.cause) {
    box.append(el("p", `Why: ${incident.cause.title} (confidence ${incident.cause.confidence.toFixed(2)})`));
  }
  for (const action of incident.actions) {
    box.append(el("p", `Action: ${action.text}${action.outcome ? ` – ${action.outcome}` : ""}${action.undone ? " – undone" : ""}`));
  }
  const list = el("ol");
  for (const entry of entries) {
    const row = el("li");
    const words = el("div", entry.text);
    if (entry.details.length > 0) {
      const more = el("ul");
      more.append(...entry.details.map((detail) => el("li", detail)));
      words.append(more);
    }
    row.append(el("time", clock(entry.at)), el("b", entry.stage), words);
    list.append(row);
  }
  box.append(list);
  return box;
}

function show(incidents, entries) {
  const open = incidents.filter((incident) => incident.closed_at === null);
  const state = document.getElementById("state");
  state.textContent = open.length === 0 ? "✓ Nothing is wrong right now." : `● ${open.length} open incident${open.length > 1 ? "s" : ""}.`;
  state.className = open.length === 0 ? "good" : "bad";
  const cards = incidents
    .slice()
    .reverse()
    .slice(0, 50)
    .map((incident) => card(incident, entries.filter((entry) => entry.incident === incident.id)));
  const none = el("p", "No incident so far. When a service shows symptoms that users notice, it appears here with its evidence, cause, action and proof.", "soft");
  document.getElementById("incidents").replaceChildren(...(cards.length > 0 ? cards : [none]));
}

const known = [];

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function refresh() {
  try {
    const after = known.length > 0 ? known[known.length - 1].seq : 0;
    const [incidents, news, kpis] = await Promise.all([
      get("/api/v1/incidents"),
      get(`/api/v1/timeline?after=${after}`),
      get("/api/v1/kpis"),
    ]);
    known.push(...news);
    show(incidents, known);
    showKpis(kpis);
  } catch (error) {
    const state = document.getElementById("state");
    state.textContent = `Aegis does not answer (${error.message}); trying again.`;
    state.className = "bad";
  }
  setTimeout(refresh, 2000);
}

refresh();
