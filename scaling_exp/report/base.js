// What every part of the page shares: the embedded data, elements, colours, the way numbers are written.
// Text from outside enters the document only through textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const painters = []; // what has to be drawn again when colours change

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

const isDark = () => root.dataset.theme === "dark";
const token = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const colour = (model) => data.models[model][isDark() ? "dark" : "light"];
const faded = (hex, alpha) => {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
};

const superscript = (n) => String(n).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
const power = (value) => {
  if (value === null || value === undefined) return "not known";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 0.01 && size < 1e4) return String(Number(value.toPrecision(3))).replace("-", "−");
  const [mantissa, exponent] = value.toExponential(2).split("e");
  const digits = Number(mantissa) === 1 ? "" : `${Number(mantissa)}×`;
  return `${digits}10${superscript(Number(exponent))}`;
};
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);
const range = (low, high, write = percent) => (low == null || high == null ? "" : ` [${write(low)}, ${write(high)}]`);
const said = (name) => name.replaceAll("_", " ");
const safe = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const modelName = (model) => safe(data.models[model].name);
const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

// A group of buttons of which exactly one is pressed.
function segments(group, value, choose) {
  const press = (chosen) => {
    for (const button of group.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.value === chosen));
    }
  };
  press(value);
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    press(button.dataset.value);
    choose(button.dataset.value);
  });
}

// A group of buttons each of which is pressed or not; `chosen` is kept up to date.
function toggles(group, chosen, choose) {
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { value } = button.dataset;
    if (!chosen.delete(value)) chosen.add(value);
    button.setAttribute("aria-pressed", String(chosen.has(value)));
    choose();
  });
}

const option = (value, label) => make("option", { value }, label);
