// Theme, navigation, paper, and the first paint.
const darkQuery = matchMedia("(prefers-color-scheme: dark)");
const remembered = () => { try { return localStorage.getItem("scaling_exp-theme"); } catch { return null; } };
const setTheme = (theme) => {
  root.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
};
const paint = () => { for (const painter of painters) painter(); };

byId("theme").addEventListener("click", () => {
  setTheme(isDark() ? "light" : "dark");
  try { localStorage.setItem("scaling_exp-theme", root.dataset.theme); } catch { /* a file opened without storage */ }
  paint();
});
darkQuery.addEventListener("change", (event) => {
  if (!remembered()) { setTheme(event.matches ? "dark" : "light"); paint(); }
});

const showContents = (isOpen) => {
  byId("toc").classList.toggle("open", isOpen);
  byId("contents").setAttribute("aria-expanded", String(isOpen));
};
byId("contents").addEventListener("click", () => showContents(!byId("toc").classList.contains("open")));
byId("toc").addEventListener("click", (event) => { if (event.target.closest("a")) showContents(false); });
addEventListener("keydown", (event) => { if (event.key === "Escape") showContents(false); });

// The section that the window shows is marked in the navigation.
const links = new Map([...byId("toc").querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
const sections = [...document.querySelectorAll("main > section")];
const markSection = () => {
  const at = sections.findLast((section) => section.getBoundingClientRect().top < 120) ?? sections[0];
  for (const [name, link] of links) {
    if (name === at.id) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
};
addEventListener("scroll", markSection, { passive: true });

// Paper is light, as wide as a sheet, and has everything opened and drawn.
let before = null;
addEventListener("beforeprint", () => {
  before = { theme: root.dataset.theme, closed: [...document.querySelectorAll("details:not([open])")] };
  for (const node of before.closed) node.open = true;
  root.classList.add("paper");
  setTheme("light");
  paint();
  drawAll();
});
addEventListener("afterprint", () => {
  root.classList.remove("paper");
  for (const node of before.closed) node.open = false;
  setTheme(before.theme);
  paint();
});

setTheme(remembered() ?? (darkQuery.matches ? "dark" : "light"));
paint();
markSection();
root.dataset.ready = "true";
