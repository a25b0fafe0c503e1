"""Tasks of questions on real data: read, put into words, answered in many spellings, graded."""

import json
from importlib.util import find_spec

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from scaling_exp.config import conf_folder
from scaling_exp.grading import Grading
from scaling_exp.schema import of_kind
from scaling_exp.tasks import TASKS
from scaling_exp.types import UserError


def task(name, *overrides):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        node = compose("config", [f"+task={name}", *overrides])
    return of_kind(TASKS, OmegaConf.to_container(node.task, resolve=True), "task")


def own(tmp_path, rows, *overrides):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return task("file", f"task.source.path={file}", *overrides)


def outcomes(made, answers):
    with Grading(made.grader) as grading:
        return [each.outcome for each in grading.grade(answers)]


def gsm8k(public_data):
    return task("gsm8k", f"task.source.path={public_data('gsm8k/test.jsonl')}")


def math500(public_data):
    return task("math500", f"task.source.path={public_data('math500/math500_test.jsonl')}")


def test_gsm8k_golds_equal_themselves_with_commas_signs_and_dollars(public_data):
    made = gsm8k(public_data)
    problems = made.problems()
    assert len(problems) == 1319
    assert len({each.name for each in problems}) == 1319
    spellings = ("#### {}", "The answer is ${:,}.", "so \\boxed{{{:,}.00}}")
    said = [
        (each, made.read(spelling.format(int(each.answer))))
        for each in problems
        for spelling in spellings
    ]
    assert set(outcomes(made, said)) == {"correct"}
    wrong = [(each, made.read(f"#### {int(each.answer) + 1}")) for each in problems]
    assert set(outcomes(made, wrong)) == {"wrong"}
    assert sum("," in row["answer"].rpartition("#### ")[2] for row in made.source.rows()) == 14
    assert sum(int(each.answer) < 0 for each in problems) == 2


def test_math500_golds_equal_themselves_and_their_spellings(public_data):
    made = math500(public_data)
    problems = made.problems()
    levels = [each.level for each in problems]
    assert [levels.count(level) for level in "12345"] == [43, 90, 105, 128, 134]
    said = [(each, made.read(f"So the answer is $\\boxed{{{each.answer}}}$.")) for each in problems]
    assert all(answer is not None for _, answer in said)
    assert set(outcomes(made, said)) == {"correct"}
    spelled = [
        (
            each,
            made.read(
                "\\boxed{" + each.answer.replace("\\frac", "\\dfrac").replace(" ", "  ") + "}"
            ),
        )
        for each in problems
    ]
    assert set(outcomes(made, spelled)) == {"correct"}


def test_what_needs_algebra_is_verified_and_what_explodes_is_no_grade(tmp_path):
    made = own(
        tmp_path,
        [{"question": "?", "answer": "x^2+2x+1"}],
        "task.reader.kind=math",
        "task.grader.kind=math",
        "+task.grader.seconds=4",
    )
    (problem,) = made.problems()
    answers = ["(x+1)^2", "2x+1+x^2", "x^2+2x", "9^{9^{9^{9^{9}}}}", "\\frac{1}{" * 200]
    found = outcomes(made, [(problem, each) for each in answers])
    assert found[:3] == ["correct", "correct", "wrong"]
    assert "correct" not in found[3:]


def test_a_users_file_is_asked_and_read_as_configured(tmp_path):
    rows = [{"q": f"What is {{x}} in {at}?", "gold": str(at), "hard": at % 2} for at in range(6)]
    reading = ("task.prompt.stop=['STOP']", "task.prompt.answer_after='</think>'")
    made = own(tmp_path, rows, *OVERRIDES, *reading)
    problems = made.problems()
    assert len(problems) == 3
    assert problems == own(tmp_path, rows, *OVERRIDES).problems()
    assert problems[0].prompt.startswith("Q: What is {x} in ")
    assert made.read("<think>7</think> 8 STOP 9") == "8"
    assert made.read("<think>7") is None


OVERRIDES = (
    "task.rows.question=q",
    "task.rows.answer=gold",
    "task.rows.level=hard",
    "task.prompt.template='Q: {question}'",
    "task.num_problems=3",
)


def test_a_chat_has_a_system_line_and_worked_turns(tmp_path):
    made = own(
        tmp_path,
        [{"question": "2+2?", "answer": "4"}],
        "task.prompt.chat=true",
        "task.prompt.system=Be brief.",
        "task.prompt.thinking=false",
        "+task.prompt.examples=[{question: '1+1?', answer: '2'}]",
    )
    (problem,) = made.problems()
    turns = [(each.role, each.content) for each in problem.chat.messages]
    assert turns == [
        ("system", "Be brief."),
        ("user", "1+1?"),
        ("assistant", "2"),
        ("user", "2+2?"),
    ]
    assert problem.chat.thinking is False


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.rows.question=qestion"], "did you mean question?"),
        (["task.rows.name=answer"], "both named"),
        (["task.prompt.template=hello"], "must have {question}"),
        (["task.prompt.system=x"], "set task.prompt.chat=true"),
        (["task.rows.answer_pattern='('"], "no regular expression"),
        (["task.reader.kind=pattern", "+task.reader.pattern=a"], "must have one"),
        (["task.grader.kind=nuber"], "did you mean number?"),
        (["task.rows.boxed=true"], "has no \\boxed{} in 'answer'"),
        (["task.rows.boxed=true", "task.rows.answer_pattern='(.)'"], "not both"),
        (["task.rows.extra=tests"], "(a row has question, answer)"),
    ],
)
def test_a_mistake_names_the_key(tmp_path, overrides, said):
    rows = [{"question": "a?", "answer": "4"}, {"question": "b?", "answer": "4"}]
    with pytest.raises((UserError, ValueError)) as raised:
        own(tmp_path, rows, *overrides).problems()
    assert said in str(raised.value)


SHOTS = [{"question": f"{at}+1?", "answer": str(at + 1), "level": str(at % 3)} for at in range(9)]


def test_worked_examples_come_from_another_file_and_are_the_same_for_every_question(tmp_path):
    examples = tmp_path / "train.jsonl"
    rows = [{"question": f"{at}-1?", "answer": str(at - 1)} for at in range(20, 30)]
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = own(tmp_path, SHOTS, f"+task.shots={{num_examples: 2, path: {examples}}}")
    heads = {each.prompt.rpartition("\n\n")[0] for each in made.problems()}
    (head,) = heads
    assert head.count("-1? ") == 2
    assert [each.prompt.rpartition("\n\n")[2] for each in made.problems()] == [
        row["question"] for row in SHOTS
    ]


def test_levels_and_rows_are_chosen_before_problems_are(tmp_path):
    made = own(tmp_path, SHOTS, "task.rows.level=level", "+task.levels=['1', '2']", "+task.first=2")
    assert [each.prompt for each in made.problems()] == ["2+1?", "4+1?", "5+1?", "7+1?", "8+1?"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.rows.level=level", "+task.levels=['4']"], "task.levels"),
        (["+task.first=9"], "there are 9 rows"),
        (["+task.shots={num_examples: 2, split: train}"], "give task.shots.path"),
        (["+task.shots={num_examples: 2}"], "give split, or files"),
    ],
)
def test_what_cannot_be_chosen_is_told(tmp_path, overrides, said):
    with pytest.raises((UserError, ValueError)) as raised:
        own(tmp_path, SHOTS, *overrides).problems()
    assert said in str(raised.value)


def from_rows(name, tmp_path, rows, *overrides):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return task(name, f"task.source.path={file}", *overrides)


def test_choices_are_lettered_and_their_letter_is_graded(tmp_path):
    options = [f"choice {at}" for at in range(10)]
    rows = [
        {
            "question": f"Which? {at}",
            "options": options[: 3 + at],
            "answer": "CJ"[at == 7],
            "category": "law" if at % 2 else "history",
            "question_id": 100 + at,
        }
        for at in range(8)
    ]
    problems = from_rows("mmlu_pro", tmp_path, rows).problems()
    assert [each.name for each in problems] == [str(100 + at) for at in range(8)]
    assert "C) choice 2\n" in problems[0].prompt
    assert "J) choice 9\n" in problems[7].prompt
    made = from_rows("mmlu_pro", tmp_path, rows)
    said = [(each, made.read(f"... so the answer is ({each.answer}).")) for each in problems]
    assert set(outcomes(made, said)) == {"correct"}
    assert outcomes(made, [(problems[7], made.read("Answer: B"))]) == ["wrong"]
    assert made.read("no idea, sorry") is None


def test_right_choices_that_come_first_are_spread_the_same_way_in_every_run(tmp_path):
    columns = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
    rows = [
        {"Question": f"Which of {at}?", **{name: f"{name} {at}" for name in columns}}
        for at in range(200)
    ]
    problems = from_rows("gpqa_diamond", tmp_path, rows).problems()
    assert problems == from_rows("gpqa_diamond", tmp_path, rows[:]).problems()
    for at, each in enumerate(problems):
        assert f"{each.answer}) Correct Answer {at}\n" in each.prompt
    counts = [sum(each.answer == letter for each in problems) for letter in "ABCD"]
    assert min(counts) > 30


@pytest.mark.parametrize(
    ("change", "overrides", "said"),
    [
        ({"answer": "D"}, (), "is no letter of its 3 choices"),
        ({"options": ["only"]}, (), "has 1; 2 to 26 can be"),
        ({}, ("task.rows.choices=[]",), "task.rows.choices is empty"),
        ({}, ("task.rows.choices=[option]",), "did you mean options?"),
        ({}, ("task.prompt.template='{question}'",), "has no {choices}"),
        ({}, ("task.rows.answer_is=text",), "is no text of its 3 choices"),
    ],
)
def test_a_mistake_in_the_choices_is_told(tmp_path, change, overrides, said):
    row = {"question": "?", "options": ["a", "b", "c"], "answer": "A", "category": "x"}
    with pytest.raises((UserError, ValueError)) as raised:
        from_rows(
            "mmlu_pro", tmp_path, [{**row, "question_id": 1, **change}], *overrides
        ).problems()
    assert said in str(raised.value)


@pytest.mark.parametrize("name", ["aime24", "aime25"])
def test_answers_of_three_digits_equal_themselves_without_their_zeros(tmp_path, name):
    rows = [{"id": str(at), "problem": f"{at}?", "answer": f"{at:03d}"} for at in (7, 33, 204)]
    made = from_rows(name, tmp_path, rows)
    problems = made.problems()
    said = [(each, made.read(f"Hence \\boxed{{{int(each.answer)}}}.")) for each in problems]
    assert outcomes(made, said) == ["correct"] * 3
    assert outcomes(made, [(problems[0], made.read("\\boxed{70}"))]) == ["wrong"]


def test_every_task_is_composed_and_says_its_size_and_source():
    for file in sorted((conf_folder() / "task").glob("*.yaml")):
        is_there = file.stem != "reasoning_gym" or find_spec("reasoning_gym") is not None
        if is_there and file.stem != "file":  # wants a file of the user's
            assert task(file.stem).grader.version
        assert file.read_text().startswith("# ")


def test_the_boxes_of_maths_solutions_are_the_answers_of_math500(public_data):
    path = public_data("math500/math500_test.jsonl")
    boxed, cleaned = (
        task(name, f"task.source.path={path}").problems() for name in ("math", "math500")
    )
    assert len(boxed) == 500
    assert [each.answer for each in boxed] == [each.answer for each in cleaned]


def test_levels_of_math_are_chosen_by_name(tmp_path):
    rows = [
        {
            "problem": f"{at}?",
            "level": f"Level {at}",
            "solution": f"So $\\boxed {at}$.",
        }
        for at in (1, 2, 5)
    ]
    (only,) = from_rows("math", tmp_path, rows, "task.levels=[Level 5]").problems()
    assert (only.level, only.answer) == ("Level 5", "5")
    rows[1]["solution"] = "no box"
    with pytest.raises(UserError, match=r"row 1 \(from 0\) has no \\boxed"):
        from_rows("math", tmp_path, rows).problems()


def test_answers_of_amc_are_whole_numbers_that_were_floats(tmp_path):
    rows = [
        {"id": at, "problem": f"{at}?", "answer": each} for at, each in enumerate((142.0, -4.0))
    ]
    made = from_rows("amc", tmp_path, rows)
    said = [(each, made.read(f"\\boxed{{{int(float(each.answer))}}}")) for each in made.problems()]
    assert outcomes(made, said) == ["correct", "correct"]


def test_a_column_besides_the_answer_goes_to_the_grader(tmp_path):
    rows = [{"question": "?", "answer": "4", "cases": [[1, "é"]], "note": "as it is"}]
    for column, extra in (("cases", '[[1, "é"]]'), ("note", "as it is"), ("null", "")):
        (problem,) = own(tmp_path, rows, f"task.rows.extra={column}").problems()
        assert problem.extra == extra


def test_examples_come_from_other_files_where_files_are_named(tmp_path):
    for split, at in (("test", 3), ("train", 4)):
        (tmp_path / "algebra").mkdir(exist_ok=True)
        row = {"problem": f"{split}?", "level": "Level 1", "solution": f"\\boxed{{{at}}}"}
        pq.write_table(
            pa.Table.from_pylist([row]), tmp_path / "algebra" / f"{split}-00000-of-00001.parquet"
        )

    def math(shots):
        return task(
            "math", f"task.source.path={tmp_path}", f"+task.shots={{num_examples: 1, {shots}}}"
        )

    (problem,) = math("files: ['*/train-*.parquet']").problems()
    assert problem.prompt.startswith("Problem: train?")
    assert "Solution: \\boxed{4}\n\nProblem: test?" in problem.prompt
    for shots, said in (
        ("files: ['*/test-*.parquet']", "examples must be others"),
        ("split: train", r"give task\.shots\.files"),
    ):
        with pytest.raises(UserError, match=said):
            math(shots).problems()
