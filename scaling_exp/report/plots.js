// Plots are drawn when they come near the window, and again when what they show has changed.
const places = new Map(); // id of a place -> { build, isNear, isStale }

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const place = places.get(entry.target.id);
    place.isNear = entry.isIntersecting;
    if (place.isNear && place.isStale) draw(entry.target.id);
  }
}, { rootMargin: "700px 0px" });

// `build` gives the traces and the layout; a page without the place has no such plot.
function plot(id, build) {
  const node = byId(id);
  if (!node) return;
  places.set(id, { build, isNear: false, isStale: true });
  watcher.observe(node);
}
function redraw(id) {
  const place = places.get(id);
  if (!place) return;
  place.isStale = true;
  if (place.isNear) draw(id);
}
const redrawAll = () => { for (const id of places.keys()) redraw(id); };
const drawAll = () => { for (const id of places.keys()) draw(id); };
painters.push(redrawAll);

// Plotly offers to send a chart to its server: this page sends nothing.
const config = { responsive: true, displaylogo: false, plotlyServerURL: "",
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"] };

function draw(id) {
  const place = places.get(id);
  const node = byId(id);
  place.isStale = false;
  const { traces, shape } = place.build();
  if (!traces.length) {
    if (node.data) Plotly.purge(node);
    node.replaceChildren(make("p", { class: "empty" }, "Nothing to draw: not known, or switched off above."));
    return;
  }
  if (!node.data) node.replaceChildren();
  // The size is said, so that it holds at once: paper does not wait for a plot to notice that it became narrower.
  Plotly.react(node, traces, { ...shape, width: node.clientWidth, height: node.clientHeight }, config);
}

const isNarrow = () => innerWidth < 560;

function layout(x, y, extra = {}) {
  const axis = (title, more) => ({ title: { text: safe(title), font: { size: 13 }, standoff: 10 }, gridcolor: token("--grid"),
    linecolor: token("--line"), zeroline: false, ticks: "outside", tickcolor: token("--line"), ticklen: 4,
    tickfont: { size: 12 }, automargin: true, ...more });
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: token("--faint"), activecolor: token("--ink") },
    font: { family: token("--sans"), color: token("--soft"), size: 12 }, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    margin: { l: isNarrow() ? 44 : 60, r: isNarrow() ? 8 : 18, t: 14, b: 48 },
    hoverlabel: { bgcolor: token("--card"), bordercolor: token("--line"), align: "left",
      font: { family: token("--sans"), color: token("--ink"), size: 12.5 } },
    xaxis: axis(x, extra.x), yaxis: axis(y, extra.y) };
}

// Whole powers of ten where the data span enough of them, else 1-2-5 steps.
function logAxis(values) {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const span = most(logs) - least(logs);
  return { type: "log", exponentformat: "power", showexponent: "all",
    dtick: span > 1.7 ? Math.max(1, Math.ceil(span / (isNarrow() ? 5 : 10))) : "D2", minor: { dtick: "D2", ticks: "outside",
      ticklen: 2, tickcolor: token("--line") } };
}

// Numbers of samples: powers of two, written out.
function samplesAxis(values) {
  const known = values.filter((value) => value > 0);
  const step = Math.max(1, Math.ceil((Math.log2(most(known)) - Math.log2(least(known))) / (isNarrow() ? 6 : 12)));
  const ticks = [];
  for (let at = Math.floor(Math.log2(least(known))); at <= Math.log2(most(known)) + 0.01; at += step) ticks.push(2 ** at);
  return { type: "log", tickvals: ticks, ticktext: ticks.map((k) => (k >= 1e5 ? power(k) : String(k))) };
}

const shareAxis = { tickformat: ".0%", rangemode: "tozero" };

const band = (x, low, high, hex, alpha, name) => ({ name, x: [...x, ...[...x].reverse()],
  y: [...high, ...[...low].reverse()], fill: "toself", fillcolor: faded(hex, alpha), line: { width: 0 }, mode: "lines",
  hoverinfo: "skip", meta: { role: "interval" } });

const bars = (y, low, high, hex, alpha) => ({ type: "data", symmetric: false, thickness: 1.2, width: 0,
  color: faded(hex, alpha), array: high.map((value, at) => (value === null ? 0 : value - y[at])),
  arrayminus: low.map((value, at) => (value === null ? 0 : y[at] - value)) });
const isWhole = (values) => values && values.every((value) => value !== null);
