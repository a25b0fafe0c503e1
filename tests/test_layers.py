"""The architecture as tests: who may import whom, read in the sources and seen at run time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("vllm", "torch", "transformers", "ray", "hydra", "omegaconf", "wandb")

# Imports every module below the named ones in a fresh interpreter and prints what came along.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
for name in sys.argv[1].split():
    module = importlib.import_module(name)
    for child in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        importlib.import_module(child.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_each_layer_imports_only_from_below(capsys):
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize(
    "names",
    [
        "scaling_exp.analysis scaling_exp.report",
        "scaling_exp.strategies scaling_exp.generation scaling_exp.votes scaling_exp.types",
    ],
)
def test_importing_leaves_engine_cluster_and_configuration_out(names):
    """`report` redraws a run on a laptop that has none of them; a strategy must not know them."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(HEAVY).isdisjoint(json.loads(done.stdout))
