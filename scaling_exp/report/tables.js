// Every table can be sorted by any column: a first press ascends, a second descends. What is missing stays last.
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  if (body.rows.length < 2) return;
  heads.forEach((head, at) => {
    const button = make("button", { type: "button", class: "sort" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const isDescending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
      sortRows(body, at, isDescending ? -1 : 1);
    });
  });
}

function sortRows(body, at, sign) {
  const value = (row) => {
    const cell = row.cells[at];
    if (cell.dataset.sort === undefined) return cell.textContent;
    if (cell.dataset.sort === "") return null;
    return Number(cell.dataset.sort.replace("inf", "Infinity"));
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b || 0);
  const rows = [...body.rows].map((row) => [value(row), row]);
  rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
  body.append(...rows.map(([, row]) => row));
}
document.querySelectorAll("table").forEach(sortable);
painters.push(() => {
  for (const node of document.querySelectorAll("[data-swatch]")) {
    node.style.setProperty("--swatch", colour(Number(node.dataset.swatch)));
  }
});
