// The page's behaviour: four plots drawn by Plotly from the embedded data, and the sample browser.
// Text from outside enters the document only through textContent.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const state = { selector: "voting", hidden: new Set(), queries: 0, samples: "most", level: "any", outcome: "any",
    problem: 0, draw: null };

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "style") node.style.setProperty(...value); else node.setAttribute(name, value);
    }
    for (const child of children) node.append(child);
    return node;
  };

  // ---- theme ----
  const root = document.documentElement;
  const darkQuery = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem("scaling_exp-theme"); } catch { return null; } };
  const setTheme = (theme) => {
    root.dataset.theme = theme;
    byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
  };
  const isDark = () => root.dataset.theme === "dark";
  const token = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const colour = (model) => data.models[model][isDark() ? "dark" : "light"];
  const faded = (hex, alpha) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${r},${g},${b},${alpha})`;
  };

  // ---- wording ----
  const superscript = (n) => String(n).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
  const power = (value) => {
    if (value === null) return "not recorded";
    if (value >= 0.01 && value < 1e4) return String(Number(value.toPrecision(3)));
    const [mantissa, exponent] = value.toExponential(2).split("e");
    const digits = Number(mantissa) === 1 ? "" : `${Number(mantissa)}×`;
    return `${digits}10${superscript(Number(exponent))}`;
  };
  const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)} %`);
  const range = (low, high) => (low === null || high === null ? "" : ` [${percent(low)}, ${percent(high)}]`);
  const safe = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const modelName = (model) => safe(data.models[model].name);

  // ---- plots ----
  const layout = (x, y, extra = {}) => {
    const narrow = innerWidth < 560;
    const axis = (title, more) => ({ title: { text: title, font: { size: 13 }, standoff: 8 }, gridcolor: token("--grid"),
      linecolor: token("--line"), zeroline: false, ticks: "outside", tickcolor: token("--line"), ticklen: 4,
      tickfont: { size: 12 }, automargin: true, ...more });
    return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: token("--faint"), activecolor: token("--ink") },
      font: { family: token("--sans"), color: token("--soft"), size: 12 }, hovermode: "closest",
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      margin: { l: narrow ? 48 : 60, r: narrow ? 10 : 18, t: 14, b: 48 },
      hoverlabel: { bgcolor: token("--card"), bordercolor: token("--line"), align: "left",
        font: { family: token("--sans"), color: token("--ink"), size: 12.5 } },
      xaxis: axis(x, extra.x), yaxis: axis(y, extra.y), ...extra.layout };
  };
  // Whole powers of ten where the data span enough of them, else 1-2-5 steps.
  const logAxis = (values) => {
    const logs = values.filter((value) => value > 0).map(Math.log10);
    const span = logs.reduce((a, b) => Math.max(a, b), -Infinity) - logs.reduce((a, b) => Math.min(a, b), Infinity);
    return { type: "log", exponentformat: "power", showexponent: "all",
      dtick: span > 1.7 ? Math.ceil(span / (innerWidth < 560 ? 5 : 10)) : "D2", minor: { dtick: "D2", ticks: "outside",
        ticklen: 2, tickcolor: token("--line") } };
  };
  const shareAxis = { tickformat: ".0%", rangemode: "tozero" };
  // Plotly offers to send a chart to its server: this page sends nothing.
  const config = { responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"] };

  const draw = (id, traces, shape) => {
    const node = byId(id);
    if (!traces.length) {
      if (node.data) Plotly.purge(node);
      node.replaceChildren(make("p", { class: "empty" }, "Nothing to draw: not recorded, or switched off above."));
      return;
    }
    if (!node.data) node.replaceChildren();
    Plotly.react(node, traces, shape, config);
  };

  const selectorShown = (selector) => selector === "single" || state.selector === "both" || state.selector === selector;
  const shown = (line) => !state.hidden.has(line.model) && selectorShown(line.selector);
  const symbolOf = (line) => (line.selector === "single" ? "diamond" : line.k.length === 1 ? "square" : "circle");

  const hoverText = (line, flopsLabel) => line.k.map((k, i) => {
    const tokens = line.output_tokens[i] == null ? "" : `<br>${power(line.output_tokens[i])} output tokens`;
    const total = line.level === "all" ? "" : `<br>level ${safe(line.level)}`;
    return `<b>${modelName(line.model)}</b> · ${safe(line.strategy)}, ${line.selector}${total}` +
      `<br>k = ${Number(k.toPrecision(4))}<br>accuracy ${percent(line.accuracy[i])}` +
      `${range(line.low[i], line.high[i])}<br>${power(line.flops[i])} ${flopsLabel}${tokens}`;
  });

  const band = (line, x) => ({ name: `${data.models[line.model].name} interval`, x: [...x, ...[...x].reverse()],
    y: [...line.high, ...[...line.low].reverse()], fill: "toself", fillcolor: faded(colour(line.model), 0.13),
    line: { width: 0 }, mode: "lines", hoverinfo: "skip", meta: { role: "interval" } });

  const curve = (line, x, label, more = {}) => ({ name: data.models[line.model].name, x, y: line.accuracy,
    text: hoverText(line, label), hovertemplate: "%{text}<extra></extra>",
    mode: line.k.length > 1 ? "lines+markers" : "markers",
    line: { color: colour(line.model), width: 2.2, dash: line.selector === "oracle" ? "5px,4px" : "solid" },
    marker: { color: colour(line.model), symbol: symbolOf(line), size: line.k.length > 1 ? 6 : 11,
      line: { color: token("--card"), width: 1.2 } },
    meta: { role: "line", selector: line.selector, model: line.model }, ...more });

  const spike = (line) => (line.k.length > 1 ? {} : { error_y: { type: "data", symmetric: false, thickness: 1.2, width: 0,
    color: colour(line.model), array: line.high.map((high, i) => high - line.accuracy[i]),
    arrayminus: line.low.map((low, i) => line.accuracy[i] - low) } });

  function drawInference() {
    const lines = data.curves.filter((line) => line.level === "all" && shown(line));
    const bands = lines.filter((line) => line.k.length > 1 && !line.low.includes(null)).map((line) => band(line, line.flops));
    draw("plot-inference", [...bands, ...lines.map((line) => curve(line, line.flops, "FLOPs per query", spike(line)))],
      layout("Inference compute per query (FLOPs)", "Accuracy",
        { x: logAxis(lines.flatMap((line) => line.flops)), y: shareAxis }));
  }

  function drawLifetime() {
    const queries = data.queries[state.queries];
    const lines = data.lifetimes.filter((line) => line.num_queries === queries && shown(line));
    const traces = lines.map((line) => {
      const trace = curve(line, line.flops, `FLOPs over ${power(queries)} queries`);
      return { ...trace, line: { ...trace.line, width: 1.6 } };
    });
    for (const frontier of data.frontiers) {
      if (frontier.num_queries !== queries || !selectorShown(frontier.selector) || !frontier.flops.length) continue;
      traces.unshift({ name: `frontier, ${frontier.selector}`, x: frontier.flops, y: frontier.accuracy, mode: "lines",
        line: { color: faded(token("--ink"), 0.38), width: 5, shape: "hv", dash: frontier.selector === "oracle" ? "6px,5px" : "solid" },
        hoverinfo: "skip", meta: { role: "frontier", selector: frontier.selector } });
    }
    byId("queries-value").textContent = queries === undefined ? "not recorded" : power(queries);
    byId("queries").setAttribute("aria-valuetext", queries === undefined ? "" : `${queries.toExponential()} queries`);
    draw("plot-lifetime", traces,
      layout("Total lifetime compute (FLOPs)", "Accuracy",
        { x: logAxis(lines.flatMap((line) => line.flops)), y: shareAxis }));
  }

  function drawExchange() {
    const groups = new Map();
    for (const match of data.matches) {
      if (!selectorShown(match.selector) || state.hidden.has(match.larger) || state.hidden.has(match.smaller)) continue;
      const key = `${match.larger} ${match.selector}`;
      groups.set(key, [...(groups.get(key) ?? []), match]);
    }
    const traces = [...groups.values()].map((group) => {
      const pairs = [...group].sort((a, b) => a.pretraining_smaller - b.pretraining_smaller);
      const [{ larger, selector, accuracy, inference_larger, pretraining_larger }] = pairs;
      const about = `equals ${modelName(larger)} at ${percent(accuracy)}, ${selector}`;
      return { name: data.models[larger].name, mode: "lines+markers",
        x: [...pairs.map((pair) => pair.inference_smaller), inference_larger],
        y: [...pairs.map((pair) => pair.pretraining_smaller), pretraining_larger],
        error_x: { type: "data", symmetric: false, thickness: 1.1, width: 0, color: colour(larger),
          array: [...pairs.map((pair) => Math.max(0, pair.inference_smaller_high - pair.inference_smaller)), 0],
          arrayminus: [...pairs.map((pair) => Math.max(0, pair.inference_smaller - pair.inference_smaller_low)), 0] },
        text: [...pairs.map((pair) => `<b>${modelName(pair.smaller)}</b> ${about}<br>k = ${power(pair.k)}<br>` +
          `${power(pair.inference_smaller)} FLOPs per query<br>${power(pair.pretraining_smaller)} FLOPs of pre-training`),
        `<b>${modelName(larger)}</b> at ${percent(accuracy)}, k = 1<br>${power(inference_larger)} FLOPs per query<br>` +
          `${power(pretraining_larger)} FLOPs of pre-training`],
        hovertemplate: "%{text}<extra></extra>",
        line: { color: colour(larger), width: 2.2, dash: selector === "oracle" ? "5px,4px" : "solid" },
        marker: { opacity: 1, size: [...pairs.map(() => 8), 12], symbol: [...pairs.map(() => "circle"), "diamond"],
          color: [...pairs.map((pair) => colour(pair.smaller)), colour(larger)], line: { color: token("--card"), width: 1.2 } },
        meta: { role: "match", selector } };
    });
    draw("plot-exchange", traces, layout("Inference compute per query (FLOPs)", "Pre-training compute (FLOPs)",
      { x: logAxis(traces.flatMap((trace) => trace.x)), y: logAxis(traces.flatMap((trace) => trace.y)) }));
  }

  function drawLevel() {
    const lines = data.curves.filter((line) => line.level !== "all" && shown(line) && line.k.length > 1);
    const groups = new Map();
    for (const line of lines) {
      const key = `${line.model} ${line.strategy} ${line.selector}`;
      groups.set(key, [...(groups.get(key) ?? []), line]);
    }
    const levels = data.levels;
    const traces = [...groups.values()].map((group) => {
      const pick = (line, column) => line[column][state.samples === "most" ? line.k.length - 1 : 0];
      const sorted = [...group].sort((a, b) => levels.indexOf(a.level) - levels.indexOf(b.level));
      const texts = sorted.map((line) => hoverText(line, "FLOPs per query")[state.samples === "most" ? line.k.length - 1 : 0]);
      const whole = { ...sorted[0], accuracy: sorted.map((line) => pick(line, "accuracy")) };
      const shift = (whole.model - (data.models.length - 1) / 2) * Math.min(0.07, 0.5 / data.models.length);
      const trace = curve(whole, sorted.map((line) => levels.indexOf(line.level) + shift), "");
      const up = sorted.map((line, i) => pick(line, "high") - whole.accuracy[i]);
      const down = sorted.map((line, i) => whole.accuracy[i] - pick(line, "low"));
      return { ...trace, mode: "lines+markers", text: texts, error_y: { type: "data", symmetric: false, array: up,
        arrayminus: down, thickness: 1.1, width: 0, color: faded(colour(whole.model), 0.55) } };
    });
    draw("plot-level", traces, layout("Difficulty level", "Accuracy",
      { x: { tickvals: levels.map((_, at) => at), ticktext: levels.map(safe), showgrid: false }, y: shareAxis }));
  }

  function drawAll() { drawInference(); drawLifetime(); drawExchange(); drawLevel(); }

  // ---- controls ----
  function press(group, value) {
    for (const button of byId(group).querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.value === value));
    }
  }
  function segments(group, choose) {
    byId(group).addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      press(group, button.dataset.value);
      choose(button.dataset.value);
    });
  }
  function chip(model, label, pressed) {
    const button = make("button", { type: "button", class: "chip", "aria-pressed": String(pressed) }, make("i"), label);
    button.dataset.model = model;
    button.style.setProperty("--swatch", colour(model));
    return button;
  }
  function buildChips() {
    byId("models").replaceChildren(...data.models.map((model, index) => chip(index, model.name, !state.hidden.has(index))));
  }
  byId("models").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const model = Number(button.dataset.model);
    if (!state.hidden.delete(model)) state.hidden.add(model);
    button.setAttribute("aria-pressed", String(!state.hidden.has(model)));
    drawAll();
  });
  segments("selector", (value) => { state.selector = value; drawAll(); });
  segments("samples-per-query", (value) => { state.samples = value; drawLevel(); });
  const slider = byId("queries");
  slider.max = String(Math.max(0, data.queries.length - 1));
  slider.disabled = data.queries.length < 2;
  state.queries = Math.floor((data.queries.length - 1) / 2);
  slider.value = String(state.queries);
  slider.addEventListener("input", () => { state.queries = Number(slider.value); drawLifetime(); });

  // ---- sample browser ----
  const problems = data.browser.problems;
  const outcome = {
    any: () => true,
    right: (d) => d.num_right === d.num_samples,
    mixed: (d) => d.num_right > 0 && d.num_right < d.num_samples,
    outvoted: (d) => d.num_right > 0 && d.votes.length > 0 && !winners(d).some((vote) => vote[2]),
    wrong: (d) => d.num_right === 0,
  };
  const winners = (d) => {
    const parsed = d.votes.filter((vote) => vote[0] !== null);
    return parsed.filter((vote) => vote[1] === parsed[0][1]);
  };
  const drawKey = (d) => `${d.model} ${d.strategy}`;
  const chosenDraw = (problem) => problem.draws.find((d) => drawKey(d) === state.draw) ?? problem.draws[0];
  const matching = () => problems.map((_, index) => index).filter((index) => {
    const problem = problems[index];
    if (state.level !== "any" && problem.level !== state.level) return false;
    const chosen = chosenDraw(problem);
    return chosen ? outcome[state.outcome](chosen) : state.outcome === "any";
  });

  function showList() {
    const indices = matching();
    if (indices.length && !indices.includes(state.problem)) state.problem = indices[0];
    byId("problem-count").textContent = `${indices.length} of ${problems.length} problems`;
    byId("problem-list").replaceChildren(...indices.map((index) => {
      const problem = problems[index];
      const chosen = chosenDraw(problem);
      const filled = make("i");
      const part = chosen ? chosen.num_right / chosen.num_samples : 0;
      filled.style.width = `${100 * part}%`;
      const button = make("button", { type: "button" }, make("span", { class: "name" }, problem.name),
        make("span", { class: "share", title: `${percent(part)} of samples right` }, filled),
        make("span", { class: "level" }, `level ${problem.level}, ${percent(part)} right`));
      button.dataset.problem = index;
      if (index === state.problem) button.setAttribute("aria-current", "true");
      return make("li", {}, button);
    }));
    const at = indices.indexOf(state.problem);
    byId("previous").disabled = at <= 0;
    byId("next").disabled = at < 0 || at === indices.length - 1;
    byId("problem-body").hidden = !indices.length;
    byId("problem-name").textContent = indices.length ? problems[state.problem].name : "No problem matches these filters";
    if (indices.length) showProblem();
  }

  function showProblem() {
    const problem = problems[state.problem];
    byId("problem-prompt").textContent = problem.prompt;
    byId("problem-answer").textContent = problem.answer;
    const chosen = chosenDraw(problem);
    byId("draws").replaceChildren(...problem.draws.map((d) => {
      const button = chip(d.model, "", d === chosen);
      const strategy = data.num_strategies > 1 ? ` ${d.strategy}` : "";
      button.append(make("b", {}, data.models[d.model].name), make("span", {}, `${strategy} ${d.num_right}/${d.num_samples}`));
      button.dataset.draw = drawKey(d);
      return button;
    }));
    byId("votes").replaceChildren(...(chosen ? chosen.votes.map(([answer, count, right]) => {
      const kind = answer === null ? " unparsed" : right ? " right" : "";
      const bar = make("span", { class: "bar" });
      bar.style.width = `${(100 * count) / Math.max(...chosen.votes.map((vote) => vote[1]))}%`;
      const label = answer === null ? "no answer" : answer;
      return make("div", { class: `vote${kind}` }, make("span", { class: "answer", title: label }, label), make("span", {}, bar),
        make("span", { class: "num" }, `${count}${right ? " ✓" : ""}`));
    }) : []));

    byId("sample-heading").textContent = !chosen ? "No samples" :
      chosen.samples.length < chosen.num_samples ? `Samples: the first ${chosen.samples.length} of ${chosen.num_samples}` :
        `Samples: all ${chosen.num_samples}`;
    byId("texts").replaceChildren(...(chosen ? chosen.samples.map(showSample) : []));
  }

  function showSample([index, answer, right, truncated, tokens, text]) {
    const head = make("header", {}, make("span", { class: "mark" }, right ? "✓ right" : "✗ wrong"),
      make("span", {}, `sample ${index}`), make("span", {}, "answer ", answer === null
        ? make("em", { class: "missing" }, "none found") : make("code", {}, answer)),
      make("span", {}, `${tokens} tokens`));
    if (truncated) head.append(make("span", { class: "tag" }, "truncated"));
    return make("div", { class: `sample${right ? " right" : ""}` }, head, make("pre", {}, data.browser.texts[text]));
  }

  function step(by) {
    const indices = matching();
    const at = indices.indexOf(state.problem) + by;
    if (at < 0 || at >= indices.length) return;
    state.problem = indices[at];
    showList();
    byId("problem-list").querySelector("[aria-current]").scrollIntoView({ block: "nearest" });
    byId("detail").scrollTop = 0;
  }

  byId("filter-level").append(...["any", ...data.levels].map((level) => make("option", { value: level }, level)));
  byId("filter-level").addEventListener("change", (event) => { state.level = event.target.value; showList(); });
  byId("filter-outcome").addEventListener("change", (event) => { state.outcome = event.target.value; showList(); });
  byId("problem-list").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    state.problem = Number(button.dataset.problem);
    showList();
    byId("problem-list").querySelector("[aria-current]")?.focus();
    byId("detail").scrollTop = 0;
  });
  byId("draws").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    state.draw = button.dataset.draw;
    showList();
    [...byId("draws").children].find((node) => node.dataset.draw === state.draw)?.focus();
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));

  // ---- start ----
  function paint() {
    buildChips();
    for (const node of document.querySelectorAll("[data-swatch]")) {
      node.style.setProperty("--swatch", colour(Number(node.dataset.swatch)));
    }
    drawAll();
    showList();
  }
  setTheme(remembered() ?? (darkQuery.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => {
    setTheme(isDark() ? "light" : "dark");
    try { localStorage.setItem("scaling_exp-theme", root.dataset.theme); } catch { /* a file opened without storage */ }
    paint();
  });
  darkQuery.addEventListener("change", (event) => {
    if (!remembered()) { setTheme(event.matches ? "dark" : "light"); paint(); }
  });
  let before = null;
  addEventListener("beforeprint", () => { before = root.dataset.theme; setTheme("light"); paint(); });
  addEventListener("afterprint", () => { setTheme(before); paint(); });
  state.draw = data.browser.first_draw;
  paint();
  root.dataset.ready = "true";
})();
