"""Tab completes verbs and overrides, in bash as it breaks words."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scaling_exp.__main__ import VERBS, main
from scaling_exp.completion import COMPOSED, SHELLS, candidates

ASKED = {
    "scaling-exp r": ["run", "report"],
    "scaling-exp bench eng": ["engine"],
    "scaling-exp run +experiment=quick": ["+experiment=quickstart"],
    "scaling-exp run +exp": ["+experiment="],
    "scaling-exp run +experiment=quickstart engine=vllm": ["engine=vllm_cpu", "engine=vllm_gpu"],
    "scaling-exp run +experiment=quickstart strategies.sampling.num": [
        "strategies.sampling.num_samples="
    ],
    "scaling-exp bench engine bench.rou": ["bench.rounds="],
    "scaling-exp report runs/some analysis.num_boot": ["analysis.num_bootstrap="],
    "scaling-exp report runs/so": [],
    "scaling-exp compare runs/so": [],
}


@pytest.mark.parametrize("line", ASKED)
def test_what_could_follow(line):
    assert candidates(line, VERBS) == ASKED[line]


def test_after_a_space_everything_could_follow():
    assert candidates("scaling-exp ", VERBS) == list(VERBS)
    assert {"engine=", "+seed="} & set(candidates("scaling-exp run ", VERBS)) == {"engine="}


def test_only_verbs_are_composed():
    assert set(COMPOSED) <= set(VERBS)


SHELL = """
source /dev/stdin <<< "$SCRIPT"
COMP_LINE=$LINE COMP_POINT=${#LINE} COMP_WORDS=($WORDS) COMP_CWORD=$(( $(wc -w <<< "$WORDS") - 1 ))
_scaling_exp
printf '%s|' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "words", "completed"),
    [
        ("scaling-exp pre", "scaling-exp pre", "pretrain |"),
        ("scaling-exp run engine=", "scaling-exp run engine =", "openai |vllm_cpu |vllm_gpu |"),
        ("scaling-exp run engine=op", "scaling-exp run engine = op", "openai |"),
        ("scaling-exp run +exper", "scaling-exp run +exper", "+experiment=|"),
    ],
)
def test_bash_completes(line, words, completed):
    program = Path(sys.executable).parent
    if not (program / "scaling-exp").exists() or not shutil.which("bash"):
        pytest.skip("wants bash and the installed program")
    done = subprocess.run(
        ["bash", "-c", SHELL],
        env={**os.environ, "PATH": f"{program}:{os.environ['PATH']}"}
        | {"SCRIPT": SHELLS["bash"], "LINE": line, "WORDS": words},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == completed


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed(shell, capsys):
    main(["completion", shell])
    assert capsys.readouterr().out == SHELLS[shell]


def test_zsh_can_read_its_script():
    if not (zsh := shutil.which("zsh")):
        pytest.skip("no zsh")
    subprocess.run([zsh, "-n", "-c", SHELLS["zsh"]], check=True)


def test_another_shell_is_a_mistake(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["completion", "fish"])
    assert ended.value.code == 2
    assert "bash|zsh" in capsys.readouterr().out


def test_completion_waits_for_hydra_alone():
    script = (
        "import sys; from scaling_exp.completion import candidates;"
        " candidates('x run +e', []); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert {"ray", "pandas", "torch", "wandb"}.isdisjoint(done.stdout.split())
