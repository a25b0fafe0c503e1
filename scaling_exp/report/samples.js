// The sample browser: find a problem, see how it was voted on and what was said.
if (data.browser && byId("browser")) {
  const { problems, answers, texts } = data.browser;
  const wanted = { text: "", level: "any", outcome: "any", kind: "all", draw: null, problem: 0 };
  const drawKey = (d) => `${d.model} ${d.strategy}`;
  const everyDraw = problems.flatMap((problem) => problem.draws);
  const widest = everyDraw.reduce((a, b) => (a && a.num_samples >= b.num_samples ? a : b), null);
  wanted.draw = widest && drawKey(widest);
  const hasStrategies = new Set(everyDraw.map((d) => d.strategy)).size > 1;
  const haystacks = problems.map((problem) => `${problem.name}\n${problem.prompt ?? ""}`.toLowerCase());
  const browsedLevels = [...new Set(problems.map((problem) => problem.level))];

  const winners = (d) => d.votes.filter((vote) => vote[1] === d.votes[0][1]);
  const OUTCOMES = {
    any: () => true,
    right: (d) => d.num_right === d.num_samples,
    mixed: (d) => d.num_right > 0 && d.num_right < d.num_samples,
    outvoted: (d) => d.num_right > 0 && d.votes.length > 0 && !winners(d).some((vote) => vote[2]),
    wrong: (d) => d.num_right === 0,
    truncated: (d) => d.num_truncated > 0,
    unparsable: (d) => d.num_unparsable > 0,
  };
  const KINDS = {
    all: () => true,
    right: (sample) => sample[2],
    wrong: (sample) => !sample[2],
    unparsable: (sample) => sample[1] === null,
    truncated: (sample) => sample[3],
  };
  const chosenDraw = (problem) => problem.draws.find((d) => drawKey(d) === wanted.draw) ?? problem.draws[0];
  const matching = () => [...problems.keys()].filter((at) => {
    const problem = problems[at];
    if (wanted.level !== "any" && problem.level !== wanted.level) return false;
    if (!wanted.text.split(/\s+/).every((word) => haystacks[at].includes(word))) return false;
    const chosen = chosenDraw(problem);
    return chosen ? OUTCOMES[wanted.outcome](chosen) : wanted.outcome === "any";
  });

  function showList() {
    const found = matching();
    if (found.length && !found.includes(wanted.problem)) wanted.problem = found[0];
    byId("problem-count").textContent = `${found.length} of ${problems.length} problems`;
    byId("problem-list").replaceChildren(...found.map(listItem));
    const at = found.indexOf(wanted.problem);
    byId("previous").disabled = at <= 0;
    byId("next").disabled = at < 0 || at === found.length - 1;
    byId("problem-body").hidden = !found.length;
    byId("problem-name").textContent = found.length ? problems[wanted.problem].name : "No problem matches";
    if (found.length) showProblem();
  }

  function listItem(at) {
    const problem = problems[at];
    const chosen = chosenDraw(problem);
    const share = chosen ? chosen.num_right / chosen.num_samples : 0;
    const filled = make("i");
    filled.style.width = `${100 * share}%`;
    const about = chosen ? `${percent(share)} right` : "no samples";
    const button = make("button", { type: "button" }, make("span", { class: "name" }, problem.name),
      make("span", { class: "share", title: about }, filled),
      make("span", { class: "level" }, problem.level === "all" ? about : `level ${problem.level}, ${about}`));
    button.dataset.problem = at;
    if (at === wanted.problem) button.setAttribute("aria-current", "true");
    return make("li", {}, button);
  }

  function showProblem() {
    const problem = problems[wanted.problem];
    const chosen = chosenDraw(problem);
    byId("problem-prompt").hidden = problem.prompt === null;
    byId("problem-prompt").textContent = problem.prompt;
    byId("problem-answer").textContent = problem.answer ?? "not imported";
    byId("draws").replaceChildren(...problem.draws.map((d) => drawChip(d, d === chosen)));
    byId("votes").replaceChildren(...(chosen ? voteRows(chosen) : []));
    showSamples(chosen);
  }

  function drawChip(d, isChosen) {
    const strategy = hasStrategies ? ` ${d.strategy}` : "";
    const button = make("button", { type: "button", class: "chip", "aria-pressed": String(isChosen) }, make("i"),
      make("b", {}, data.models[d.model].name), make("span", {}, `${strategy} ${d.num_right}/${d.num_samples}`));
    button.style.setProperty("--swatch", colour(d.model));
    button.dataset.draw = drawKey(d);
    return button;
  }

  function voteRows(d) {
    const hasScores = d.votes.some((vote) => vote[3] !== null);
    const longest = Math.max(d.num_unparsable, ...d.votes.map((vote) => vote[1]));
    const row = (kind, label, count, right, score) => {
      const bar = make("span", { class: "bar" });
      bar.style.width = `${(100 * count) / longest}%`;
      const tail = `${count}${right ? " ✓" : ""}`;
      return make("div", { class: `vote${kind}` }, make("span", { class: "answer", title: label }, label),
        make("span", {}, bar), make("span", { class: "num" }, tail),
        ...(hasScores ? [make("span", { class: "score" }, score === null ? "" : `score ${Number(score.toPrecision(3))}`)] : []));
    };
    const rows = d.votes.map(([answer, count, right, score]) => row(right ? " right" : "", answers[answer], count, right, score));
    if (d.num_unparsable) rows.push(row(" unparsed", "no answer", d.num_unparsable, false, null));
    const more = d.num_answers - d.votes.length;
    return more > 0 ? [...rows, make("p", { class: "note" }, `and ${more} rarer answers`)] : rows;
  }

  function showSamples(d) {
    const listed = d ? d.samples.filter(KINDS[wanted.kind]) : [];
    const kept = d ? d.samples.length : 0;
    byId("sample-heading").textContent = !d ? "No samples" : kept < d.num_samples
      ? `Samples: ${kept} of ${d.num_samples}, some of every kind` : `Samples: all ${d.num_samples}`;
    const buttons = Object.keys(KINDS).map((kind) => {
      const num = d ? d.samples.filter(KINDS[kind]).length : 0;
      return make("button", { type: "button", "data-value": kind, "aria-pressed": String(kind === wanted.kind) },
        `${kind} ${num}`);
    });
    byId("kinds").replaceChildren(...buttons);
    byId("texts").replaceChildren(...(listed.length ? listed.map(showSample)
      : [make("p", { class: "note missing" }, "None of this kind here.")]));
  }

  function showSample([number, answer, right, truncated, tokens, text, score]) {
    const head = make("header", {}, make("span", { class: "mark" }, right ? "✓ right" : "✗ wrong"),
      make("span", {}, `sample ${number}`), make("span", {}, "answer ", answer === null
        ? make("em", { class: "missing" }, "none found") : make("code", {}, answers[answer])));
    if (tokens !== null) head.append(make("span", {}, `${tokens} tokens`));
    if (score !== null) head.append(make("span", {}, `score ${Number(score.toPrecision(3))}`));
    if (truncated) head.append(make("span", { class: "tag" }, "truncated"));
    return make("div", { class: `sample${right ? " right" : ""}` }, head,
      ...(text === null ? [] : [make("pre", {}, texts[text])]));
  }

  function current() {
    return byId("problem-list").querySelector("[aria-current]");
  }
  function step(by) {
    const found = matching();
    const at = found.indexOf(wanted.problem) + by;
    if (at < 0 || at >= found.length) return;
    const hadFocus = byId("problem-list").contains(document.activeElement);
    wanted.problem = found[at];
    showList();
    const list = byId("problem-list");
    const button = current();
    list.scrollTop += button.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3;
    if (hadFocus) button.focus({ preventScroll: true });
    byId("detail").scrollTop = 0;
  }

  byId("filter-text").addEventListener("input", (event) => { wanted.text = event.target.value.trim().toLowerCase(); showList(); });
  const ordered = data.levels.filter((level) => browsedLevels.includes(level));
  const filterLevels = ordered.length === browsedLevels.length ? ordered : browsedLevels;
  byId("filter-level").append(...["any", ...filterLevels].map((level) => option(level, level)));
  byId("filter-level").closest("label").hidden = browsedLevels.length < 2;
  byId("filter-level").addEventListener("change", (event) => { wanted.level = event.target.value; showList(); });
  byId("filter-outcome").addEventListener("change", (event) => { wanted.outcome = event.target.value; showList(); });
  byId("problem-list").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    wanted.problem = Number(button.dataset.problem);
    showList();
    current()?.focus({ preventScroll: true });
    byId("detail").scrollTop = 0;
  });
  byId("draws").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    wanted.draw = button.dataset.draw;
    showList();
    [...byId("draws").children].find((node) => node.dataset.draw === wanted.draw)?.focus();
  });
  byId("kinds").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    wanted.kind = button.dataset.value;
    showSamples(chosenDraw(problems[wanted.problem]));
    byId("kinds").querySelector(`[data-value="${wanted.kind}"]`).focus();
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));

  let isInView = false;
  new IntersectionObserver(([entry]) => { isInView = entry.isIntersecting; }).observe(byId("browser"));
  addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea");
    const inList = byId("problem-list").contains(event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping || !isInView) return;
    const act = { "/": () => byId("filter-text").focus(), j: () => step(1), k: () => step(-1),
      ...(inList ? { ArrowDown: () => step(1), ArrowUp: () => step(-1) } : {}) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  painters.push(showList);
}
