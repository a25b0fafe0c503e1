"""scaling_exp itself: the command line that a user types, with its survey, store, analysis and report."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shared import LADDER, MAX_TOKENS, ROOT, STOP, TEMPERATURE, Drawn, Setup, contest

POLL_SECONDS = 0.05


def sampling(setup: Setup) -> Drawn:
    """All samples of every problem."""
    return run(setup, ["+strategy@strategies.it=sampling"])


def adaptive(setup: Setup) -> Drawn:
    """Only the samples that can still change a vote."""
    return run(setup, ["+strategy@strategies.it=adaptive_voting"])


def run(setup: Setup, strategy: Sequence[str]) -> Drawn:
    """Run the command, then read the completions in its table of samples.

    The first result is seen from outside: the first draw in a journal on disk, where `kill -9` cannot undo it.
    """
    command = [
        *(sys.executable, "-m", "scaling_exp", "run", "+ladder=arithmetic", "+task=arithmetic"),
        *strategy,
        f"strategies.it.num_samples={setup.num_samples}",
        f"strategies.it.sampling.temperature={TEMPERATURE}",
        f"task.num_problems={setup.num_problems}",
        f"ladder.path={write_ladder(setup)}",
        f"store={setup.folder}/runs",
        f"max_tokens={MAX_TOKENS}",
        *("name=compare", "engine.replicas=1", "tracking=disabled"),
    ]
    log = Path(setup.folder) / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    first = first_draw_at(process, Path(setup.folder))
    if process.wait():
        raise RuntimeError(f"scaling_exp failed; see {log}")
    import pyarrow.parquet as pq

    (manifest_file,) = Path(setup.folder).glob("runs/*/manifest.json")
    manifest = json.loads(manifest_file.read_text())
    table = pq.read_table(manifest_file.with_name("samples.parquet"))
    rows = table.select(["problem", "sample", "text"]).sort_by("sample").to_pylist()
    texts: dict[str, list[str]] = {problem.name: [] for problem in setup.problems}
    for row in rows:
        texts[row["problem"]].append(row["text"].removesuffix(f" {STOP}"))
    return Drawn(
        texts,
        drawing_seconds=manifest["generation"][setup.model]["wall_seconds"],
        first_result_at=first,
    )


def first_draw_at(process: subprocess.Popen[bytes], folder: Path) -> float:
    """`time.time()` when a journal holds its first draw, or was made a part already, or when the process ended."""
    import pyarrow as pa

    while process.poll() is None:
        for journal in folder.glob("runs/*/draws/*.journal"):
            with suppress(pa.ArrowInvalid, StopIteration, OSError):
                pa.ipc.open_stream(journal.read_bytes()).read_next_batch()
                return time.time()
        if any(folder.glob("runs/*/draws/*.parquet")):
            break
        time.sleep(POLL_SECONDS)
    return time.time()


def write_ladder(setup: Setup) -> Path:
    """A ladder of one model, the rest as shipped."""
    folder = Path(setup.folder) / "ladder"
    folder.mkdir()
    content = json.loads((LADDER / "ladder.json").read_text())
    path = Path(setup.model_path)
    content["checkpoints"] = [each for each in content["checkpoints"] if each["name"] == path.name]
    (folder / "ladder.json").write_text(json.dumps(content))
    (folder / path.name).symlink_to(path)
    return folder


if __name__ == "__main__":
    contest({"sampling": sampling, "adaptive": adaptive}[sys.argv[3]])
