"""A self-contained HTML document: sections with their navigation, styles, scripts and data in one
file that opens no connection.

A content security policy allows exactly the scripts written here, by hash, and no network; data is
embedded as JSON that cannot end its own element.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from plotly.offline import get_plotlyjs

from scaling_exp.report.palette import DARK, LIGHT, model_colours
from scaling_exp.report.wording import text


@dataclass(frozen=True)
class Section:
    """One part of a document. `name` is its anchor, `label` its place in the navigation, `body`
    markup that is safe to insert; sections of one `group` stand together."""

    group: str
    name: str
    label: str
    title: str
    body: str


def document(
    *,
    title: str,
    run_line: str,
    opening: str,
    first: tuple[str, str],
    sections: Sequence[Section],
    data: Mapping[str, object],
    scripts: Sequence[str],
) -> str:
    """The document as one string, of which plotly.js is 4.8 MB. `opening` is the markup before the
    sections, `first` its anchor and its label; `scripts` names the parts of the page's behaviour in
    their order."""
    script, plotly = _behaviour(scripts), get_plotlyjs()
    return Template(resource("page.html")).substitute(
        policy=_policy(plotly, script),
        title=text(title),
        css=resource("page.css"),
        run_line=run_line,
        contents=_contents([Section("Answer", *first, "", ""), *sections]),
        opening=opening,
        sections="".join(map(_section, sections)),
        data=json_for_html(data),
        plotly=plotly,
        script=script,
    )


def coloured_models(names: Sequence[str]) -> list[dict[str, str]]:
    """Models for the page's data: name and colour in both themes, in the order of `names`."""
    palette = zip(
        names, model_colours(len(names), LIGHT), model_colours(len(names), DARK), strict=True
    )
    return [{"name": name, "light": light, "dark": dark} for name, light, dark in palette]


def resource(name: str) -> str:
    """A file that lies beside this one."""
    return (files("scaling_exp.report") / name).read_text(encoding="utf-8")


def json_for_html(payload: object) -> str:
    """JSON that is safe inside a script element: no `<`, `>`, `&`, U+2028 or U+2029; not-a-number
    as null; lone surrogates replaced."""
    written = json.dumps(
        _plain(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written.encode("utf-8", "replace").decode("utf-8")


def _plain(value: object) -> object:
    """Numbers to six significant digits, NaN and infinities to null."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(nested) for key, nested in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(nested) for nested in value]
    return value


def _behaviour(parts: Sequence[str]) -> str:
    body = "\n".join(resource(f"{part}.js") for part in parts)
    return f'"use strict";\n(() => {{\n{body}}})();\n'


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _contents(sections: Sequence[Section]) -> str:
    groups = dict.fromkeys(section.group for section in sections)
    return "".join(
        f"<p>{text(group)}</p><ul>"
        + "".join(
            f'<li><a href="#{text(each.name)}">{text(each.label)}</a></li>'
            for each in sections
            if each.group == group
        )
        + "</ul>"
        for group in groups
    )


def _section(section: Section) -> str:
    name = text(section.name)
    return (
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">'
        f"{text(section.title)}</h2>{section.body}</section>\n"
    )
