"""A section for each answer: its sentences, plots, tables and assumptions, whatever it is about; and
the files beside the page.

It knows nothing of any question.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from scaling_exp.analysis.answers import Answer, Plot
from scaling_exp.report import plots, tables, wording
from scaling_exp.report.document import Section
from scaling_exp.report.palette import DARK, LIGHT, named_colours
from scaling_exp.report.wording import heading, text

FOLDER = "answers"


def write_tables(answers: Sequence[Answer], run_dir: pathlib.Path) -> None:
    """Write `answers/ANSWER_TABLE.csv` for every table, in place of those that were there."""
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.csv"):
        old.unlink()
    for answer in answers:
        for name, table in answer.tables.items():
            table.to_csv(folder / f"{answer.name}_{name}.csv", index=False)


def record(answers: Sequence[Answer]) -> dict[str, object]:
    """What every answer says, by its name, for JSON."""
    return {
        answer.name: {
            "question": answer.question,
            "sentences": list(answer.sentences),
            "assumptions": list(answer.assumptions),
            "numbers": answer.numbers,
        }
        for answer in answers
    }


def answer_section(answer: Answer, names: Sequence[str], group: str = "Answers") -> Section:
    """The answer as a part of the page; `names` are the models of the page, in their order."""
    first, *rest = answer.sentences
    body = [
        f'<p class="asked">{text(answer.question)}</p>',
        f'<p class="finding">{wording.sentence(first)}</p>',
        *(f'<p class="lead">{wording.sentence(each)}</p>' for each in rest),
        f'<div class="answer-plots">{"".join(_figure(answer, plot) for plot in answer.plots)}</div>'
        if answer.plots
        else "",
        *(_table(answer, name, names) for name in answer.tables),
        tables.details("What this assumes", tables.bullets(answer.assumptions))
        if answer.assumptions
        else "",
    ]
    return Section(
        group, f"answer-{answer.name}", heading(answer.name), heading(answer.name), "".join(body)
    )


def answers_data(answers: Sequence[Answer], names: Sequence[str]) -> dict[str, object]:
    """The plots of all answers for the page's script, by the identifier of their place."""
    return {
        plots.place(answer.name, plot): plots.plot_data(plot, names)
        for answer in answers
        for plot in answer.plots
    }


def line_colours(answers: Sequence[Answer]) -> dict[str, list[str]]:
    """Light and dark colour of every line that belongs to no model, by name: the same in all plots
    of an answer."""
    found: dict[str, list[str]] = {}
    for answer in answers:
        lines = dict.fromkeys(name for plot in answer.plots for name in plots.line_names(plot))
        pairs = zip(
            lines, named_colours(len(lines), LIGHT), named_colours(len(lines), DARK), strict=True
        )
        found |= {f"{answer.name} {name}": [light, dark] for name, light, dark in pairs}
    return found


def _figure(answer: Answer, plot: Plot) -> str:
    place = text(plots.place(answer.name, plot))
    note = plots.thinning_note(plot)
    return (
        f'<figure class="card"><figcaption><div class="caption-head"><h3>{text(plot.title)}</h3>'
        f'<a class="file" href="figures/{place}.png">PNG</a></div>'
        f"<p>{wording.sentence(plot.caption)}{note}</p></figcaption>"
        f'<div class="key" data-key="{place}"></div>'
        f'<div class="plot" id="plot-{place}" data-answer="{text(answer.name)}" '
        f'data-plot="{place}" role="img" aria-label="{text(plot.title)}: {text(plot.y_label)} '
        f'against {text(plot.x_label)}"></div></figure>'
    )


def _table(answer: Answer, name: str, names: Sequence[str]) -> str:
    return (
        f'<div class="caption-head"><h3>{text(heading(name))}</h3>'
        f'<a class="file" href="{FOLDER}/{text(answer.name)}_{text(name)}.csv">CSV</a></div>'
        + tables.frame(answer.tables[name], names)
    )
