"""A finished run is graded again from what it stored: no engine, and nothing drawn."""

import json

import pyarrow as pa
import pytest
from test_experiment import experiment, no_report  # noqa: F401 - a fixture, used by name

from scaling_exp.__main__ import main
from scaling_exp.experiment import run
from scaling_exp.regrade import regrade, task_config_of
from scaling_exp.tasks.arithmetic import Level, SumsAndProducts
from scaling_exp.types import UserError

TASK = {
    "kind": "sums_and_products",
    "num_problems": 6,
    "seed": 1,
    "modulus": 67,
    "levels": {"easy": {"num_terms": 3, "zipf_exponent": 1.8}},
}


@pytest.fixture
def finished(tmp_path):
    """A run whose answers were the first words, which are never right."""
    made = experiment(tmp_path, config={"task": TASK})
    run(made, "command")
    return made.folder


def test_texts_are_read_and_graded_again(finished):
    before = finished.read_table("samples")
    assert before["answer"].null_count == 0
    done = regrade(finished, TASK)
    after = finished.read_table("samples")
    task = SumsAndProducts(6, 1, 67, {"easy": Level(3, 1.8)})
    gold = {each.name: each.answer for each in task.problems()}
    for row in after.to_pylist():
        assert row["answer"] == task.read(row["text"])
        assert row["is_correct"] == (row["answer"] == gold[row["problem"]])
        assert (row["outcome"] == "unparsable") == (row["answer"] is None)
    assert done.num_samples == before.num_rows
    assert done.num_read_anew == after["answer"].null_count > 0
    untouched = [
        name for name in after.column_names if name not in ("answer", "is_correct", "outcome")
    ]
    assert after.select(untouched).equals(before.select(untouched))
    (entry,) = finished.read_manifest()["regraded"]
    assert entry["grader"] == "exact 1"


def test_the_same_grader_changes_nothing(finished):
    regrade(finished, TASK)
    before = finished.read_table("samples")
    done = regrade(finished, TASK)
    assert (done.num_read_anew, done.num_graded_anew) == (0, 0)
    assert finished.read_table("samples").equals(before)
    assert len(finished.read_manifest()["regraded"]) == 2


def test_a_run_without_a_task_is_told_so(finished):
    manifest = finished.read_manifest()
    del manifest["config"]["task"]
    finished.write_json("manifest", manifest)
    with pytest.raises(UserError, match="keep the grades that came with them"):
        task_config_of(finished)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--regrade"], "wants a run's folder first"),
        (["nowhere", "--regrade"], "wants a run's folder first"),
        (["RUN", "--regrade", "task.modulo=7"], "there is no 'modulo'; did you mean modulus?"),
        (["RUN", "--regrade", "task.modulus=8"], "it must be a prime"),
        (["RUN", "--regrade", "task.modulus=[7"], "cannot read task.modulus=[7: "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_the_run_alone(finished, capsys, arguments, said):
    before = finished.read_table("samples")
    arguments = [str(finished.path) if each == "RUN" else each for each in arguments]
    with pytest.raises(SystemExit) as ended:
        main(["report", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert finished.read_table("samples").equals(before)


def test_what_a_grader_knows_besides_the_answer_is_in_the_run(finished, tmp_path):
    """Puzzles and a user's function judge by `extra`, which the table of problems keeps."""
    problems, samples = finished.read_table("problems"), finished.read_table("samples")
    puzzle = json.dumps({"numbers": [4, 6, 8], "target": 24})
    with_puzzle = pa.array([puzzle] * problems.num_rows)
    column = problems.schema.get_field_index("extra")
    finished.write_table("problems", problems.set_column(column, "extra", with_puzzle))
    texts = ["Answer: 4*6", "Answer: 4*8", "no idea"]
    said = pa.array([texts[at % 3] for at in range(samples.num_rows)])
    column = samples.schema.get_field_index("text")
    finished.write_table("samples", samples.set_column(column, "text", said))

    file = tmp_path / "grader.py"
    file.write_text(
        "import json\n\ndef grade(answer, problem):\n"
        "    return str(json.loads(problem.extra)['target'] // 6) in answer\n"
    )
    own = {"kind": "function", "path": str(file)}
    for grader, right in (({"kind": "countdown"}, {"4*6"}), (own, {"4*6", "4*8"})):
        regrade(finished, {**PUZZLES, "grader": grader})
        for row in finished.read_table("samples").to_pylist():
            assert row["answer"] == (
                row["text"].removeprefix("Answer: ") if "A" in row["text"] else None
            )
            assert row["is_correct"] == (row["answer"] in right)
    versions = [each["grader"].split()[0] for each in finished.read_manifest()["regraded"]]
    assert versions == ["countdown", "function"]


PUZZLES = {
    "kind": "questions",
    "source": {"kind": "dataset", "path": "puzzles.csv"},
    "rows": {"kind": "countdown", "target": "target"},
    "prompt": {},
    "reader": {"kind": "expression"},
}


def test_a_table_of_before_a_column_was_added_is_graded_again(finished):
    old = finished.read_table("samples").drop_columns(["step_scores", "token_scores"])
    finished.write_table("samples", old)
    done = regrade(finished, TASK)
    after = finished.read_table("samples")
    assert done.num_read_anew > 0
    assert after.column_names == old.column_names
