// The plots of every run: accuracy against cost, lifetime, exchange, selection gap, difficulty. The controls above the
// first of them hold for all.
const shownState = {
  hidden: new Set(), // models
  selectors: new Set(data.selectors.slice(0, 1)),
  strategies: new Set(data.strategies),
  level: data.level,
  axis: Object.keys(data.axes)[0],
  queries: Math.floor((data.queries.length - 1) / 2),
  difficulty: Object.keys(data.difficulties)[0],
  samples: "most",
};
const DASHES = { oracle: "5px,4px", best_of: "2px,3px", best_of_min: "2px,5px", best_of_product: "2px,7px", best_of_mean: "2px,9px", weighted_voting: "9px,3px,2px,3px" };
const dashOf = (selector) => DASHES[selector] ?? "solid";
const SYMBOLS = ["circle", "triangle-up", "pentagon", "star", "cross"];

const selectorShown = (selector) => selector === "single" || shownState.selectors.has(selector);
const strategyShown = (line) => line.k.length < 2 || shownState.strategies.has(line.strategy);
const shown = (line) => !shownState.hidden.has(String(line.model)) && selectorShown(line.selector) && strategyShown(line);
const symbolOf = (line) => (line.selector === "single" ? "diamond" : line.k.length === 1 ? "square"
  : SYMBOLS[Math.max(0, data.strategies.indexOf(line.strategy)) % SYMBOLS.length]);

const hoverText = (line, x, label) => line.k.map((k, at) => {
  const level = line.level === undefined || line.level === "all" ? "" : `<br>${safe(line.level)}`;
  const cost = x[at] === k ? "" : `<br>${power(x[at])} ${safe(label)}`;
  return `<b>${modelName(line.model)}</b> · ${safe(line.strategy)}, ${said(line.selector)}${level}` +
    `<br>k = ${Number(k.toPrecision(4))}<br>accuracy ${percent(line.accuracy[at])}` +
    `${range(line.low[at], line.high[at])}${cost}`;
});

const curve = (line, x, label) => ({ name: data.models[line.model].name, x, y: line.accuracy,
  text: hoverText(line, x, label), hovertemplate: "%{text}<extra></extra>",
  mode: line.k.length > 1 ? "lines+markers" : "markers",
  line: { color: colour(line.model), width: 2.2, dash: dashOf(line.selector) },
  marker: { color: colour(line.model), symbol: symbolOf(line), size: line.k.length > 1 ? 6 : 11,
    line: { color: token("--card"), width: 1.2 } },
  meta: { role: "line", selector: line.selector, model: line.model } });

plot("plot-accuracy", () => {
  const { axis, level } = shownState;
  const lines = data.curves.filter((line) => line.level === level && shown(line));
  const xOf = (line) => (axis === "k" ? line.k : line.costs[axis]);
  const wide = lines.filter((line) => line.k.length > 1 && isWhole(line.low) && isWhole(xOf(line)) &&
    xOf(line)[0] !== xOf(line).at(-1));
  const bands = wide.map((line) => band(xOf(line), line.low, line.high, colour(line.model), 0.13, "interval"));
  const traces = lines.map((line) => {
    const trace = curve(line, xOf(line), data.axes[axis]);
    return line.k.length > 1 ? trace : { ...trace, error_y: bars(line.accuracy, line.low, line.high, colour(line.model), 1) };
  });
  const values = lines.flatMap(xOf).filter((value) => value > 0);
  return { traces: values.length ? [...bands, ...traces] : [],
    shape: layout(data.axes[axis], "Accuracy", { x: axis === "k" ? samplesAxis(values) : logAxis(values), y: shareAxis }) };
});

plot("plot-lifetime", () => {
  const queries = data.queries[shownState.queries];
  const lines = data.lifetimes.filter((line) => line.num_queries === queries && shown(line));
  const traces = lines.map((line) => {
    const trace = curve(line, line.flops, `FLOPs over ${power(queries)} queries`);
    return { ...trace, line: { ...trace.line, width: 1.6 } };
  });
  for (const frontier of data.frontiers) {
    const isShown = [...shownState.selectors].some((selector) => (selector === "oracle") === frontier.of_oracle);
    if (frontier.num_queries !== queries || !isShown || !frontier.flops.length) continue;
    const selector = frontier.of_oracle ? "oracle" : "selected";
    traces.unshift({ name: `frontier, ${selector}`, x: frontier.flops, y: frontier.accuracy, mode: "lines",
      line: { color: faded(token("--ink"), 0.34), width: 5, shape: "hv", dash: frontier.of_oracle ? "6px,5px" : "solid" },
      hoverinfo: "skip", meta: { role: "frontier", selector } });
  }
  byId("queries-value").textContent = queries === undefined ? "not known" : power(queries);
  byId("queries").setAttribute("aria-valuetext", queries === undefined ? "" : `${queries.toExponential()} queries`);
  return { traces, shape: layout("Total lifetime compute (FLOPs)", "Accuracy",
    { x: logAxis(lines.flatMap((line) => line.flops)), y: shareAxis }) };
});

plot("plot-exchange", () => {
  const groups = new Map();
  for (const match of data.matches) {
    const isHidden = shownState.hidden.has(String(match.larger)) || shownState.hidden.has(String(match.smaller));
    if (!selectorShown(match.selector) || isHidden) continue;
    const key = `${match.larger} ${match.selector}`;
    groups.set(key, [...(groups.get(key) ?? []), match]);
  }
  const traces = [...groups.values()].map(isoAccuracy);
  return { traces, shape: layout("Inference compute a query (FLOPs)", "Pre-training compute (FLOPs)",
    { x: logAxis(traces.flatMap((trace) => trace.x)), y: logAxis(traces.flatMap((trace) => trace.y)) }) };
});

// One larger model, and the smaller ones that reach its accuracy.
function isoAccuracy(group) {
  const pairs = [...group].sort((a, b) => a.pretraining_smaller - b.pretraining_smaller);
  const [{ larger, selector, accuracy, inference_larger, pretraining_larger }] = pairs;
  const about = `equals ${modelName(larger)} at ${percent(accuracy)}, ${said(selector)}`;
  return { name: data.models[larger].name, mode: "lines+markers",
    x: [...pairs.map((pair) => pair.inference_smaller), inference_larger],
    y: [...pairs.map((pair) => pair.pretraining_smaller), pretraining_larger],
    error_x: { type: "data", symmetric: false, thickness: 1.1, width: 0, color: colour(larger),
      array: [...pairs.map((pair) => Math.max(0, pair.inference_smaller_high - pair.inference_smaller)), 0],
      arrayminus: [...pairs.map((pair) => Math.max(0, pair.inference_smaller - pair.inference_smaller_low)), 0] },
    text: [...pairs.map((pair) => `<b>${modelName(pair.smaller)}</b> ${about}<br>k = ${power(pair.k)}<br>` +
      `${power(pair.inference_smaller)} FLOPs a query<br>${power(pair.pretraining_smaller)} FLOPs of pre-training`),
    `<b>${modelName(larger)}</b> at ${percent(accuracy)}, k = 1<br>${power(inference_larger)} FLOPs a query<br>` +
      `${power(pretraining_larger)} FLOPs of pre-training`],
    hovertemplate: "%{text}<extra></extra>",
    line: { color: colour(larger), width: 2.2, dash: dashOf(selector) },
    marker: { opacity: 1, size: [...pairs.map(() => 8), 12], symbol: [...pairs.map(() => "circle"), "diamond"],
      color: [...pairs.map((pair) => colour(pair.smaller)), colour(larger)], line: { color: token("--card"), width: 1.2 } },
    meta: { role: "match", selector } };
}

plot("plot-gap", () => {
  const chosen = [...shownState.selectors].filter((selector) => selector !== "oracle");
  const of = chosen.length ? chosen : data.selectors.filter((selector) => selector !== "oracle").slice(0, 1);
  const lines = data.gaps.filter((gap) => gap.level === shownState.level && of.includes(gap.selector) &&
    !shownState.hidden.has(String(gap.model)) && strategyShown(gap));
  const traces = lines.map((gap) => ({ name: data.models[gap.model].name, x: gap.k, y: gap.gap, mode: "lines+markers",
    text: gap.k.map((k, at) => `<b>${modelName(gap.model)}</b> · ${safe(gap.strategy)}<br>k = ${k}<br>` +
      `oracle minus ${said(gap.selector)}: ${percent(gap.gap[at])}`), hovertemplate: "%{text}<extra></extra>",
    line: { color: colour(gap.model), width: 2.2, dash: dashOf(gap.selector) },
    marker: { color: colour(gap.model), symbol: symbolOf(gap), size: 6, line: { color: token("--card"), width: 1.2 } },
    meta: { role: "gap", selector: gap.selector } }));
  return { traces, shape: layout("Samples a query, k", "Oracle minus selected",
    { x: samplesAxis(lines.flatMap((gap) => gap.k).concat(1)), y: shareAxis }) };
});

plot("plot-difficulty", () => {
  const levels = data.difficulties[shownState.difficulty] ?? [];
  const at = shownState.samples === "most" ? -1 : 0;
  const groups = new Map();
  for (const line of data.curves) {
    if (!levels.includes(line.level) || !shown(line) || (line.selector === "single" && data.strategies.length)) continue;
    const key = `${line.model} ${line.strategy} ${line.selector}`;
    groups.set(key, [...(groups.get(key) ?? []), line]);
  }
  const several = [...groups.values()].filter((group) => group[0].k.length > 1);
  const traces = (several.length ? several : [...groups.values()]).map((group) => {
    const lines = [...group].sort((a, b) => levels.indexOf(a.level) - levels.indexOf(b.level));
    const pick = (name) => lines.map((line) => line[name].at(at));
    const [{ model, selector }] = lines;
    const shift = (model - (data.models.length - 1) / 2) * Math.min(0.07, 0.5 / data.models.length);
    return { name: data.models[model].name, mode: "lines+markers", x: lines.map((line) => levels.indexOf(line.level) + shift),
      y: pick("accuracy"), text: lines.map((line) => hoverText(line, line.k, "").at(at)), hovertemplate: "%{text}<extra></extra>",
      error_y: bars(pick("accuracy"), pick("low"), pick("high"), colour(model), 0.55),
      line: { color: colour(model), width: 2.2, dash: dashOf(selector) },
      marker: { color: colour(model), symbol: symbolOf(lines[0]), size: 6, line: { color: token("--card"), width: 1.2 } },
      meta: { role: "line", selector } };
  });
  const title = shownState.difficulty === "quintile" ? "Quintile of difficulty" : "Level";
  return { traces, shape: layout(title, "Accuracy", { y: shareAxis, x: { tickvals: levels.map((_, place) => place),
    ticktext: levels.map((level) => safe(level)), showgrid: false } }) };
});

function modelChip(model, label, pressed) {
  const button = make("button", { type: "button", class: "chip", "aria-pressed": String(pressed) }, make("i"), label);
  button.dataset.value = model;
  button.style.setProperty("--swatch", colour(model));
  return button;
}
const buildModels = () => byId("models").replaceChildren(...data.models.map((model, at) =>
  modelChip(at, model.name, !shownState.hidden.has(String(at)))));
painters.push(buildModels);

// The chips of models are pressed while their model is shown: the reverse of `toggles`.
byId("models").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (!shownState.hidden.delete(button.dataset.value)) shownState.hidden.add(button.dataset.value);
  button.setAttribute("aria-pressed", String(!shownState.hidden.has(button.dataset.value)));
  redrawAll();
});

byId("selectors").append(...data.selectors.map((selector) => {
  const stroke = make("i", { class: `stroke ${selector}` });
  const label = said(selector);
  return Object.assign(make("button", { type: "button", class: "chip plain", "data-value": selector,
    "aria-pressed": String(shownState.selectors.has(selector)) }, stroke, label[0].toUpperCase() + label.slice(1)));
}));
byId("selectors").closest(".control").hidden = !data.selectors.length;
toggles(byId("selectors"), shownState.selectors, redrawAll);

byId("strategies").append(...data.strategies.map((strategy) => make("button", { type: "button", class: "chip plain",
  "data-value": strategy, "aria-pressed": "true" }, strategy)));
byId("strategy-control").hidden = data.strategies.length < 2;
toggles(byId("strategies"), shownState.strategies, redrawAll);

const levelNames = [...new Set(data.curves.map((line) => line.level))];
byId("level").append(...[...(levelNames.includes("all") ? ["all"] : []), ...data.levels].map((level) => option(level, level)));
byId("level").value = shownState.level;
byId("level-control").hidden = data.levels.length < 2;
byId("level").addEventListener("change", (event) => { shownState.level = event.target.value; redrawAll(); });

byId("axis").append(...Object.entries(data.axes).map(([name, label]) => option(name, label)));
byId("axis").addEventListener("change", (event) => { shownState.axis = event.target.value; redraw("plot-accuracy"); });

if (byId("queries")) {
  byId("queries").max = String(Math.max(0, data.queries.length - 1));
  byId("queries").disabled = data.queries.length < 2;
  byId("queries").value = String(shownState.queries);
  byId("queries").addEventListener("input", (event) => { shownState.queries = Number(event.target.value); redraw("plot-lifetime"); });
}
if (byId("difficulty-way")) {
  const ways = Object.keys(data.difficulties);
  byId("difficulty-way").append(...ways.map((way) => make("button", { type: "button", "data-value": way },
    way === "quintile" ? "By quintile" : "By level")));
  byId("difficulty-way").hidden = ways.length < 2;
  segments(byId("difficulty-way"), shownState.difficulty, (way) => { shownState.difficulty = way; redraw("plot-difficulty"); });
  segments(byId("samples-per-query"), "most", (value) => { shownState.samples = value; redraw("plot-difficulty"); });
}
