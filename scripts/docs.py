"""What MkDocs does beyond Markdown: pages made from conf/ and from files beside docs/, and formulas as MathML.

MkDocs calls the `on_*` functions (`hooks` in mkdocs.yml). Formulas become what browsers draw by themselves, so that a
page fetches nothing; only in pages that say `math: true`, for elsewhere a dollar is a shell's.
"""

from __future__ import annotations

import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
BROUGHT = {
    "deploy/clusters.md": "cluster/README.md",
    "deploy/containers.md": "docker/README.md",
    "project/security.md": "SECURITY.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/changes.md": "CHANGELOG.md",
}
"""Page -> the file that it is."""
CONFIGURATION = "reference/configuration.md"
INTRODUCTION = """\
# Configuration

Every group and option, as it stands in `conf/`. Choose one with `group=option`, add one with `+group=option`, change a
key with `key=value`, a list with `'key=[1,2]'`; `--cfg job` shows what comes out. Your own options are files in a
folder of yours: `--config-dir DIR` with `DIR/group/option.yaml`.

| file | read by |
|---|---|
| `config.yaml` | `run`, `plan`, `submit` |
| `report.yaml` | `report` |
| `import.yaml` | `import` |
| `pretrain.yaml` | `pretrain` |
| `bench.yaml` | `bench` |
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for name, source in BROUGHT.items():
        text = _relinked(name, source, (ROOT / source).read_text())
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, CONFIGURATION, content=configuration(ROOT / "conf")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn formulas into MathML."""
    return with_formulas(markdown) if page.meta.get("math") else markdown


def _relinked(page: str, source: str, text: str) -> str:
    """Text of a file whose links to files are links to their pages."""
    pages = {file: name for name, file in BROUGHT.items()}

    def link(found: re.Match[str]) -> str:
        file = (ROOT / source).parent.joinpath(found[1]).resolve().relative_to(ROOT).as_posix()
        target = pages.get(file) or file.removeprefix("docs/")
        return f"]({'../' * page.count('/')}{target}{found[2] or ''})"

    return re.sub(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)", link, text)


def configuration(conf: Path) -> str:
    """A page with every file of conf/: the comment at its head as text, the rest as it is."""
    roots = sorted(conf.glob("*.yaml"))
    groups = sorted(each for each in conf.iterdir() if each.is_dir() and any(each.glob("*.yaml")))
    parts = [INTRODUCTION, *(_section(file, file.name, 2) for file in roots)]
    for group in groups:
        options = sorted(group.glob("*.yaml"))
        parts += [f"## {group.name}"]
        parts += [_section(file, f"{group.name}={file.stem}", 3) for file in options]
    return "\n\n".join(parts) + "\n"


def _section(file: Path, title: str, level: int) -> str:
    lines = file.read_text().splitlines()
    while lines and lines[0].startswith("# @package"):
        lines.pop(0)
    head: list[str] = []
    while lines and lines[0].startswith("#"):
        head.append(lines.pop(0).removeprefix("#").removeprefix(" "))
    body = "\n".join(lines).split("\nhydra:")[0].strip("\n")  # what follows is Hydra's own
    return f"{'#' * level} `{title}`\n\n```text\n{chr(10).join(head)}\n```\n\n```yaml\n{body}\n```"


def with_formulas(markdown: str) -> str:
    """Markdown with `$...$` and `$$...$$` as MathML, outside of code."""
    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("`") else _converted(part) for part in parts)


def _converted(text: str) -> str:
    text = re.sub(
        r"\$\$(.+?)\$\$",
        lambda found: convert(found[1].strip(), display="block"),
        text,
        flags=re.DOTALL,
    )
    return re.sub(r"\$((?:[^$\n]|\n(?!\n))+)\$", lambda found: convert(found[1]), text)
