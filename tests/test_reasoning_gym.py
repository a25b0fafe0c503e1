"""Every generator of reasoning-gym: its own answer is right, another is not, and no answer of a model is run."""

import json
import sys

import pytest
from test_questions_task import task

from scaling_exp.grading import Grading
from scaling_exp.tasks import gym
from scaling_exp.tasks.graders import ReasoningGymGrader
from scaling_exp.tasks.readers.tag import TagReader
from scaling_exp.tasks.sources.reasoning_gym import ANY
from scaling_exp.types import Problem, UserError

reasoning_gym = pytest.importorskip("reasoning_gym")
NAMES = sorted(set(reasoning_gym.factory.DATASETS) - {"composite"})
WITHOUT_ANSWER = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
"""Generators that have no answer of their own, and check what they are given."""


def problem(generator, at=0, size=3):
    """A problem as the task makes it, made in this process, because starting one for each generator takes minutes."""
    parameters = {"size": size, "seed": 7}
    entry = gym.make(generator, parameters)[at]
    extra = gym.Made(generator, parameters, entry).as_text()
    return Problem(
        f"{generator}-{at}", entry["question"], entry["answer"] or ANY, "all", extra=extra
    )


@pytest.fixture(scope="module")
def grading():
    with Grading(ReasoningGymGrader()) as grading:
        yield grading


@pytest.fixture(scope="module")
def problems():
    return {name: problem(name) for name in NAMES}


def graded(grading, asked):
    return [each.outcome for each in grading.grade(asked)]


def test_there_are_about_a_hundred():
    assert len(NAMES) >= 100
    assert set(NAMES) >= WITHOUT_ANSWER


def test_an_entry_comes_through_json_as_it_was(problems):
    for each in problems.values():
        made = gym.Made.from_text(each.extra)
        assert gym.Made.from_text(made.as_text()) == made
        assert made.entry["question"] == each.prompt
    made = gym.Made("x", {"size": 1}, {"metadata": {1: (2, [(3, None)]), "a": {"b": (1.5,)}}})
    assert gym.Made.from_text(made.as_text()) == made


def test_the_own_answer_of_every_generator_is_right(problems, grading):
    read = TagReader().read
    asked = [
        (each, read(f"<think></think>\n<answer>{each.answer}</answer> "))
        for name, each in problems.items()
        if name not in WITHOUT_ANSWER
    ]
    wrong = [
        one.name
        for (one, _), outcome in zip(asked, graded(grading, asked), strict=True)
        if outcome != "correct"
    ]
    assert wrong == []


def test_nonsense_is_right_nowhere(problems, grading):
    asked = [(each, answer) for each in problems.values() for answer in ("no idea", "0")]
    asked = [(each, answer) for each, answer in asked if answer != each.answer]
    right = [
        (one.name, answer)
        for (one, answer), outcome in zip(asked, graded(grading, asked), strict=True)
        if outcome == "correct"
    ]
    assert right == []


@pytest.mark.parametrize(
    ("generator", "answer", "score"),
    [
        ("game_of_life_halting", "the grid is nice", 1),
        ("coin_flip", "0", 1),
        ("complex_arithmetic", "nan", 1),
        ("puzzle24", "6*4*1*1", 1),
        ("puzzle24", "8*3 + 1/3", 1),
    ],
)
def test_where_a_scorer_is_fooled_the_grade_is_not(grading, generator, answer, score):
    """When one of these fails, reasoning-gym was mended: then the rule of ours can go."""
    one = problem(generator)
    made = gym.Made.from_text(one.extra)
    assert gym.make(generator, made.parameters).score_answer(answer, made.entry) == score
    assert graded(grading, [(one, answer)]) == ["wrong"]


@pytest.mark.parametrize(
    "generator",
    [
        *("binary_matrix", "n_queens", "spiral_matrix", "string_insertion", "countdown"),
        *(
            "puzzle24",
            "polynomial_multiplication",
            "simple_integration",
            "intermediate_integration",
        ),
    ],
)
def test_no_answer_is_run(tmp_path, grading, generator):
    trap = tmp_path / "escaped"
    attacks = [
        f"__import__('pathlib').Path({str(trap)!r}).touch()",
        f"[__import__('pathlib').Path({str(trap)!r}).touch()]",
        f"exec({f'open({str(trap)!r}, chr(119))'!r})",
    ]
    one = problem(generator)
    assert set(graded(grading, [(one, each) for each in attacks])) <= {"wrong", "unparsable"}
    assert not trap.exists()


def test_a_scorer_that_falls_over_an_answer_is_no_grade(problems, grading):
    found = grading.grade([(problems["prime_factorization"], "no idea")])
    assert found[0].outcome == "unparsable"
    assert found[0].detail.startswith("prime_factorization: ValueError")


def test_what_scores_less_than_one_is_wrong_and_says_its_score(problems, grading):
    (found,) = grading.grade([(problems["prime_factorization"], "1")])
    assert (found.outcome, found.detail) == ("wrong", "score 0.01")


def test_other_answers_that_fit_are_right(grading):
    one = problem("graph_color")
    made = gym.Made.from_text(one.extra)
    colors = made.entry["metadata"]["possible_answer"]
    swapped = {1: 2, 2: 1}
    answer = json.dumps({str(each): swapped.get(color, color) for each, color in colors.items()})
    assert graded(grading, [(one, answer)]) == ["correct"]


def test_the_task_asks_reads_and_grades(grading):
    made = task(
        "reasoning_gym",
        "task.source.generator=chain_sum",
        "task.source.size=5",
        "task.source.parameters={min_terms: 4, max_terms: 4}",
    )
    problems = made.problems()
    assert [each.name for each in problems] == [f"{at:05d}" for at in range(5)]
    assert {each.level for each in problems} == {"chain_sum"}
    assert all(each.prompt.count("+") + each.prompt.count(" - ") == 3 for each in problems)
    said = [(each, made.read(f"So: <answer>{each.answer}</answer>")) for each in problems]
    assert set(graded(grading, said)) == {"correct"}
    assert made.grader.version.startswith("reasoning_gym 1, reasoning-gym 0.1.")


def test_a_mixture_is_a_generator_like_others(grading):
    made = task(
        "reasoning_gym",
        "task.source.generator=composite",
        "task.source.size=8",
        "task.source.parameters={datasets: [{name: gcd, weight: 2}, {name: lcm, config: {min_value: 2}}]}",
    )
    problems = made.problems()
    assert {each.level for each in problems} == {"gcd", "lcm"}
    assert set(graded(grading, [(each, each.answer) for each in problems])) == {"correct"}


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["isomorphic_strings", "list_functions"])
def test_problems_are_the_same_in_every_process(generator):
    """The first goes through sets, the second draws from Python's shared random numbers."""
    parameters = {"size": 10, "seed": 1}
    assert gym.entries(generator, parameters) == gym.entries(generator, parameters)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.source.generator=chain_sums"], "did you mean chain_sum?"),
        (["task.source.parameters={min_term: 3}"], "did you mean min_terms?"),
        (["task.source.parameters={min_terms: 9}"], "chain_sum refuses {'min_terms': 9"),
        (["task.source.parameters={size: 3}"], "give task.source.size"),
        (["task.source.size=0"], "it must be at least 1"),
        (
            ["task.source.generator=composite", "task.source.parameters={datasets: [{nam: gcd}]}"],
            "must be {name: ..., weight: ..., config: {...}}",
        ),
        (["task.source.generator=composite"], "Must specify at least one dataset"),
    ],
)
def test_a_mistake_names_the_key(overrides, said):
    with pytest.raises((UserError, ValueError)) as raised:
        task("reasoning_gym", "task.source.generator=chain_sum", *overrides).problems()
    assert said in str(raised.value)


def test_a_problem_that_is_another_task_s_is_told():
    with pytest.raises(UserError, match=r"wants\s+task\.source\.kind=reasoning_gym"):
        ReasoningGymGrader().slow(Problem("p", "?", "4", "all"), "4")


def test_without_the_library_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(UserError, match=r"pip install 'scaling-exp\[gym\]'"):
        _ = ReasoningGymGrader().version
