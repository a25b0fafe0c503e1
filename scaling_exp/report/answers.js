// The plots of answers. Measured points, points kept from a fit, fits and extrapolations are drawn apart.
const LOOKS = {
  measured: { mode: "lines+markers", width: 1.8, dash: "solid", size: 7, band: 0 },
  held_out: { mode: "markers", width: 0, dash: "solid", size: 9, band: 0 },
  fitted: { mode: "lines", width: 1.4, dash: "solid", size: 0, band: 0.16 },
  extrapolated: { mode: "lines", width: 1.4, dash: "6px,4px", size: 0, band: 0.07 },
};
const STYLE_WORDS = { measured: "measured", held_out: "held out from the fit", fitted: "fit, inside the data",
  extrapolated: "extrapolated" };
const VARIANTS = [["circle", "solid"], ["square", "2px,3px"], ["diamond", "8px,3px"], ["triangle-up", "8px,3px,2px,3px"]];
const MAX_KEY = 14;
const MAX_MARKERS = 60; // a longer line is a line only
const switchedOff = new Map(); // plot -> keys of the series that are switched off

function seriesColour(answer, series) {
  if (series.model !== null) return colour(series.model);
  const pair = data.line_colours[`${answer} ${series.name}`];
  return pair ? pair[isDark() ? 1 : 0] : token("--soft");
}

function seriesTraces(answer, plotted, series) {
  const hex = seriesColour(answer, series);
  const look = LOOKS[series.style];
  const write = (isShare) => (isShare ? percent : power);
  const [x, y] = [write(plotted.is_share_x), write(plotted.is_share_y)];
  const told = series.x.map((value, at) => `<b>${safe(series.name)}</b> · ${STYLE_WORDS[series.style]}<br>` +
    `${y(series.y[at])}${series.low ? range(series.low[at], series.high[at], y) : ""}<br>` +
    `at ${x(value)} <span style="opacity:.7">(${safe(plotted.x_label)})</span>`);
  const variant = series.variant % VARIANTS.length;
  const hasBounds = series.low && series.high;
  const trace = { name: series.name, x: series.x, y: series.y, text: told, hovertemplate: "%{text}<extra></extra>",
    mode: series.x.length < 2 ? "markers" : series.x.length > MAX_MARKERS && look.mode === "lines+markers" ? "lines" : look.mode, line: { color: hex, width: look.width, dash: series.style === "measured" ? VARIANTS[variant][1] : look.dash },
    marker: { symbol: VARIANTS[variant][0], color: series.style === "held_out" ? token("--card") : hex, size: look.size || 7,
      line: { color: series.style === "held_out" ? hex : token("--card"), width: series.style === "held_out" ? 2 : 1.2 } },
    meta: { role: series.style } };
  if (!hasBounds) return [trace];
  if (!look.band) return [{ ...trace, error_y: bars(series.y, series.low, series.high, hex, 0.6) }];
  return isWhole(series.low) && isWhole(series.high)
    ? [band(series.x, series.low, series.high, hex, look.band, series.name), trace] : [trace];
}

// Entries of a plot's key: one a name where they are few, else one a model.
function keyEntries(plotted) {
  const names = [...new Set(plotted.series.map((series) => series.name))];
  const isByName = names.length <= MAX_KEY || plotted.series.some((series) => series.model === null);
  const keyOf = (series) => (isByName ? series.name : data.models[series.model].name);
  const entries = new Map();
  for (const series of plotted.series) if (!entries.has(keyOf(series))) entries.set(keyOf(series), series);
  return { keyOf, entries };
}

function answerAxis(isLog, isShare, values) {
  if (isLog) return isShare ? { ...logAxis(values), tickformat: ".1~%" } : logAxis(values);
  const isCounted = values.every(Number.isInteger) && most(values) - least(values) <= 12;
  const hasZero = least(values) < 0 && most(values) > 0;
  return { ...(isShare ? { tickformat: ".2~%" } : { exponentformat: "power", ...(isCounted ? { dtick: 1 } : {}) }),
    zeroline: hasZero, zerolinecolor: token("--faint"), zerolinewidth: 1 };
}

function buildKey(answer, id) {
  const plotted = data.answers[id];
  const { entries } = keyEntries(plotted);
  const off = switchedOff.get(id);
  const box = document.querySelector(`[data-key="${CSS.escape(id)}"]`);
  const chips = [...entries].map(([key, series]) => {
    const button = make("button", { type: "button", class: "chip", "data-value": key, "aria-pressed": String(!off.has(key)) },
      make("i"), key);
    button.style.setProperty("--swatch", seriesColour(answer, series));
    return button;
  });
  const styles = [...new Set(plotted.series.map((series) => series.style))];
  const words = styles.length < 2 ? [] : styles.map((style) =>
    make("span", { class: "style-word" }, make("i", { class: `look ${style}` }), STYLE_WORDS[style]));
  box.replaceChildren(...(chips.length > 1 ? chips : []), ...words);
}

for (const node of document.querySelectorAll("[data-plot]")) {
  const { plot: id, answer } = node.dataset;
  const plotted = data.answers[id];
  const { keyOf } = keyEntries(plotted);
  const off = new Set();
  switchedOff.set(id, off);
  plot(node.id, () => {
    const series = plotted.series.filter((each) => !off.has(keyOf(each)));
    const traces = series.flatMap((each) => seriesTraces(answer, plotted, each));
    return { traces, shape: layout(plotted.x_label, plotted.y_label, {
      x: answerAxis(plotted.is_log_x, plotted.is_share_x, series.flatMap((each) => each.x)),
      y: answerAxis(plotted.is_log_y, plotted.is_share_y, series.flatMap((each) => each.y)) }) };
  });
  document.querySelector(`[data-key="${CSS.escape(id)}"]`).addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (!off.delete(button.dataset.value)) off.add(button.dataset.value);
    button.setAttribute("aria-pressed", String(!off.has(button.dataset.value)));
    redraw(node.id);
  });
  painters.push(() => buildKey(answer, id));
}
