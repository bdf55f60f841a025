// The page's only state is the form. Each change renders the table, the verdict and the chart from it.
"use strict";
const page = JSON.parse(document.getElementById("page-data").textContent);
const form = document.getElementById("choices");
const rows = new Map([...document.querySelectorAll("#methods tbody tr")].map((row) => [row.dataset.key, row]));
const places = new Map(page.points.map((point, place) => [point.key, place]));
const quantity = (value, unit) => {
  if (value === undefined) return "–";
  const [size, prefix] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([size]) => value >= size) ?? [1, ""];
  return `${Number((value / size).toPrecision(3))} ${prefix}${unit}`.trim();
};
const percent = (value) => (100 * value).toFixed(1).replace(/^-0\.0$/, "0.0").replace("-", "−");

function chosen() {
  const values = Object.fromEntries(new FormData(form));
  const limit = (name, scale) => (values[name] > 0 ? values[name] * scale : Infinity);
  return {
    ...values,
    adapters: Math.max(1, Math.round(values.adapters) || 1),
    memory: limit("memory", 1e9),
    stored: limit("stored", 1e6),
    seconds: limit("hours", 3600),
    limited: ["memory", "stored", "hours"].some((name) => values[name] > 0),
  };
}

function costsOf(point, choice) {
  const byScore = point.costs[choice.shape] ?? {};
  const costs = byScore[choice.score] ?? byScore["*"] ?? {};
  if (costs.stored === undefined) return { ...costs };
  return { ...costs, served: (costs.base ?? 0) + (costs.shared ?? 0) + choice.adapters * costs.stored };
}

// what a GPU must hold, as far as it is known: the training, its start, or all adapters beside the base
const held = { peak: "training", start: "its start", served: "serving" };
function roomText(costs, room) {
  const [most] = Object.keys(held).toSorted((a, b) => (costs[b] ?? 0) - (costs[a] ?? 0));
  return ` (${held[most]} takes ${quantity(costs[most] ?? 0, "B")} of ${quantity(room, "B")})`;
}

// a closed form of the memory of training or its start knows no activations
const activations = (choice) => (choice.shape === "measured" ? "" : ", without activations,");
const costLabel = (cost, choice) => cost.label + (["peak", "start"].includes(cost.name) ? activations(choice) : "").replace(/,$/, "");

function outside(costs, choice) {
  const one = choice.adapters === 1;
  const adapters = one ? "the adapter" : `${choice.adapters.toLocaleString("en")} adapters of ${quantity(costs.stored, "B")}`;
  const beside = costs.base === undefined ? "" : " with the base";
  return [
    [costs.peak, choice.memory, `training${activations(choice)} takes`, "B"],
    [costs.start, choice.memory, `its start${activations(choice)} takes`, "B"],
    [costs.served, choice.memory, `${adapters}${beside} take${one ? "s" : ""}`, "B"],
    [costs.stored, choice.stored, "stores", "B"],
    [costs.total, choice.seconds, "takes", "s"],
  ]
    .filter(([value, limit]) => value > limit)
    .map(([value, , what, unit]) => `${what} ${quantity(value, unit)}`);
}

function lines(choice) {
  return page.points
    .filter((point) => point.scores[choice.score] || (choice.shape !== "measured" && point.costs[choice.shape]))
    .map((point) => {
      const costs = costsOf(point, choice);
      return { point, costs, score: point.scores[choice.score], reasons: outside(costs, choice) };
    })
    .sort((a, b) => (a.reasons.length > 0) - (b.reasons.length > 0) || !a.score - !b.score || (b.score?.mean ?? 0) - (a.score?.mean ?? 0));
}

// [difference, low, high, verdict, planned, same, detectable] of a point minus another, or nothing
function against(choice, key, other) {
  const [a, b] = [places.get(key), places.get(other)];
  const pair = (page.pairs[choice.score] ?? {})[`${Math.min(a, b)},${Math.max(a, b)}`];
  if (!pair || a < b) return pair;
  const [value, low, high, verdict, ...rest] = pair;
  return [-value, -high, -low, -verdict, ...rest];
}

function scoreText(score) {
  if (!score) return "not in this study";
  const kind = score.interval === "t" ? "" : `, ${score.interval}`;
  const bounds = score.low === null ? "" : ` [${percent(score.low)}, ${percent(score.high)}${kind}]`;
  return `${percent(score.mean)}${bounds} ${score.n}`;
}

function comparedText(line, reference, choice) {
  if (line.reasons.length) return `outside: ${line.reasons.join("; ")}`;
  return differenceText(line, reference, choice) + (choice.memory < Infinity ? roomText(line.costs, choice.memory) : "");
}

function differenceText(line, reference, choice) {
  if (!line.score) return "within";
  if (line === reference) return choice.against ? "–" : "the best";
  const pair = against(choice, line.point.key, reference.point.key);
  if (!pair) return "not compared";
  const [value, low, high, verdict, planned, same] = pair;
  const dagger = planned ? "" : " †";
  return `${verdict ? "" : same ? "= " : "≈ "}${percent(value)} [${percent(low)}, ${percent(high)}]${dagger}`;
}

function renderTable(found, best, reference, choice, cost) {
  const body = document.querySelector("#methods tbody");
  for (const row of rows.values()) Object.assign(row, { hidden: true, className: "" });
  for (const line of found) {
    const row = rows.get(line.point.key);
    const texts = [scoreText(line.score), quantity(line.costs[choice.cost], cost.unit), comparedText(line, reference, choice)];
    texts.forEach((text, place) => (row.cells[place + 1].textContent = text));
    row.hidden = false;
    row.className = line.reasons.length ? "out" : line === best ? "best" : "";
    body.append(row);
  }
  document.getElementById("cost-head").textContent = costLabel(cost, choice);
  document.getElementById("against-head").textContent = `Against ${choice.against ? reference.point.label : "the best"}`;
}

function names(list) {
  const shown = list.length > 6 ? [...list.slice(0, 5), `${list.length - 5} more`] : list;
  return shown.join("; ");
}

// what is told apart from the reference, and what is not: a sentence each
function comparison(lines, reference, choice) {
  const pairs = lines.map((line) => [line.point.label, against(choice, line.point.key, reference.point.key)]);
  const which = (test, text) => pairs.filter(([, pair]) => pair && test(pair)).map(([label, pair]) => text(label, pair));
  const by = (label, [value, low, high, verdict]) =>
    `${label} by ${verdict < 0 ? `${percent(-value)} [${percent(-high)}, ${percent(-low)}]` : `${percent(value)} [${percent(low)}, ${percent(high)}]`}`;
  const tied = which((pair) => !pair[3], (label, [value, low, high]) => `${label} (${percent(value)} [${percent(low)}, ${percent(high)}])`);
  const smallest = which((pair) => !pair[3], (label, pair) => pair[6]);
  const parts = [
    [tied, `Cannot be told apart from it: `],
    [which((pair) => pair[3] > 0, by), "Above it: "],
    [which((pair) => pair[3] < 0, by), "Behind it: "],
    [pairs.filter(([, pair]) => !pair).map(([label]) => label), "Not compared: "],
  ];
  const said = parts.filter(([list]) => list.length).map(([list, start]) => `${start}${names(list)}.`);
  const half = percent(smallest.toSorted((a, b) => a - b)[Math.floor(smallest.length / 2)] ?? 0);
  const find = `find a true difference of ${half} points with 80 % or more`;
  if (tied.length) said.splice(1, 0, tied.length > 1 ? `Half of these comparisons would ${find}.` : `It would ${find}.`);
  return said;
}

// what the budget leaves out, and which of it has a score like that of the reference
function leftOut(found, reference, choice) {
  const beyond = found.filter((line) => line.reasons.length && line.score);
  const alike = reference ? beyond.filter((line) => against(choice, line.point.key, reference.point.key)?.[3] === 0) : [];
  const labels = (lines) => names(lines.map((line) => line.point.label));
  return [
    ...(beyond.length ? [`Outside, for the reasons in their rows: ${labels(beyond)}.`] : []),
    ...(alike.length ? [`By score alone ${labels(alike)} cannot be told apart from it.`] : []),
  ];
}

function renderVerdict(found, best, reference, choice) {
  const inside = found.filter((line) => !line.reasons.length);
  const counted = choice.shape !== "measured";
  const said = [];
  if (choice.limited) said.push(`${inside.length} of ${found.length} are within the budget.`);
  if (!best) said.push(choice.limited ? "None of them has a score here." : "No method has a score.");
  else if (choice.against) said.push(`${reference.point.label}: ${percent(reference.score.mean)}.`);
  else said.push(`${choice.limited ? "Best within it" : "Best"}: ${best.point.label}, ${percent(best.score.mean)}, at ${quantity(best.costs.stored, "B")} stored.`);
  if (reference) said.push(...comparison(inside.filter((line) => line.score && line !== reference), reference, choice));
  said.push(...leftOut(found, reference, choice));
  const unknown = inside.filter((line) => counted && !line.score);
  if (unknown.length) said.push(`Also within, at ranks that this study has no score of: ${names(unknown.map((line) => `${line.point.label} (${quantity(line.costs.stored, "B")} stored)`))}.`);
  const base = form.elements.shape;
  const [other, own] = [base.selectedOptions[0], base.options[0]].map((option) => option.text.replace(/, .*/, ""));
  if (counted) said.unshift(`For ${other}, whose memory is counted, with the scores of ${own}, which are not its own:`);
  if (counted && choice.seconds < Infinity) said.push("Hours of training are not known there, and limit nothing.");
  // without a choice of the reader's it is the answer above
  const untouched = !choice.limited && !choice.against && choice.score === page.score && !counted;
  document.getElementById("verdict").textContent = untouched ? "" : said.join(" ");
}

function tip(line, choice) {
  const costs = page.costs.filter(({ name }) => line.costs[name] !== undefined);
  return {
    title: line.point.label,
    Score: scoreText(line.score).replace(/(\d+)$/, "n $1"),
    ...Object.fromEntries(costs.map(({ name, label, unit }) => [label, quantity(line.costs[name], unit)])),
    ...(line.reasons.length ? { Outside: line.reasons.join("; ") } : {}),
    ...(line.point.folders ? { Runs: line.point.folders, Again: `snakemake --cores all ${line.point.folder}/predictions.jsonl` } : {}),
  };
}

// a model that trains nothing is a number to compare with, far below the others: it stands above the chart
const untrained = (line) => line.costs.trainable === 0;

function chartRows(found, choice) {
  const drawn = found.filter((line) => line.score && line.costs[choice.cost] !== undefined && !untrained(line));
  const least = Math.min(...drawn.map((line) => line.costs[choice.cost]).filter((value) => value > 0));
  const moves = page.moves[choice.shape]?.[choice.score]?.[choice.cost === "served" ? "stored" : choice.cost] ?? {};
  return drawn.map((line) => {
    const value = line.costs[choice.cost];
    const { mean, low, high } = line.score;
    const { key, label, color, path } = line.point;
    return {
      key, label, color, path, none: !(value > 0), x: value > 0 ? value : (Number.isFinite(least) ? least : 1) / 3,
      mean: 100 * mean, low: low === null ? null : 100 * low, high: high === null ? null : 100 * high,
      move: moves[key] ?? 0, inside: !line.reasons.length, tip: tip(line, choice),
    };
  });
}

// the table, the verdict and the words of the axes; what is left for the chart are its rows
function render() {
  const choice = chosen();
  for (const option of form.elements.cost.options) {
    option.disabled = !page.points.some((point) => costsOf(point, choice)[option.value] !== undefined);
  }
  if (form.elements.cost.selectedOptions[0].disabled) form.elements.cost.value = choice.cost = "stored";
  const cost = page.costs.find(({ name }) => name === choice.cost);
  const found = lines(choice);
  const best = found.find((line) => line.score && !line.reasons.length);
  const reference = found.find((line) => line.point.key === choice.against && line.score) ?? best;
  renderTable(found, best, reference, choice, cost);
  renderVerdict(found, best, reference, choice);
  document.getElementById("x-label").textContent = `${costLabel(cost, choice)}, ${form.elements.shape.selectedOptions[0].text} →`;
  const beside = found.filter((line) => line.score && untrained(line)).map((line) => `; ${line.point.label}: ${percent(line.score.mean)}`);
  document.getElementById("y-label").textContent = `↑ Score x 100, ${form.elements.score.selectedOptions[0].text}${beside.join("")}`;
  return chartRows(found, choice);
}

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

const options = { renderer: "svg", actions: false, tooltip: { theme: "custom" }, logLevel: 1 };
vegaEmbed("#chart", { ...page.chart, datasets: { points: render() } }, options).then(({ view }) => {
  const again = () => view.data("points", render()).resize().runAsync();
  form.addEventListener("input", again);
  document.getElementById("clear").addEventListener("click", () => {
    for (const name of ["memory", "adapters", "stored", "hours"]) form.elements[name].value = "";
    again();
  });
  const light = (event) => view.signal("lit", event.target.closest("tr")?.dataset.key ?? "").runAsync();
  for (const name of ["focusin", "pointerover"]) document.querySelector("#methods tbody").addEventListener(name, light);
  document.documentElement.dataset.ready = "yes";
});
for (const place of document.querySelectorAll("[data-chart]")) {
  const { chart, panel, side } = place.dataset;
  const columns = Math.max(1, Math.floor((place.clientWidth - side) / panel));
  vegaEmbed(place, { ...page.charts[chart], columns }, options);
}
addEventListener("hashchange", openTarget);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
openTarget();
