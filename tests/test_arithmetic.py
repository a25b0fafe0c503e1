"""Sums and products: every answer by brute computation, no leak from training rows, and no text that cannot be read."""

from __future__ import annotations

import re
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from scaling_exp.tasks import TASKS
from scaling_exp.tasks.arithmetic import HELD_OUT_ONE_IN, Level, SumsAndProducts, is_held_out

CONF = Path(__file__).resolve().parent.parent / "conf"
LEVELS = {
    "easy": Level(3, 1.4),
    "medium": Level(4, 1.1),
    "hard": Level(5, 0.0),
}
TASK = SumsAndProducts(num_problems=120, seed=3, modulus=67, levels=LEVELS)
PINNED = ["easy-e34940e9b9", "medium-21585b5659", "hard-c80c34bd64"]


def terms_of(prompt: str) -> list[int]:
    *terms, colon = prompt.split()
    assert colon == ":"
    return [int(term) for term in terms]


def brute(terms, modulus: int) -> str:
    """Sum and product over the integers, then the remainder: not how the task computes them."""
    return f"{sum(terms) % modulus} {prod(terms) % modulus}"


def check_half(half: list[str], symbol: str, terms: list[int], modulus: int) -> None:
    """`a + b = c + d = e`: right at every step, and over exactly the terms."""
    operate = {"+": lambda x, y: x + y, "*": lambda x, y: x * y}[symbol]
    running, used = int(half[0]), [int(half[0])]
    for mark, term, equals, result in zip(*[iter(half[1:])] * 4, strict=True):
        assert (mark, equals) == (symbol, "=")
        assert int(result) == operate(running, int(term)) % modulus
        running = int(result)
        used.append(int(term))
    assert sorted(used) == sorted(terms)


def check_solution(text: str, terms: list[int], modulus: int) -> None:
    words = text.split()
    comma = words.index(",")
    assert words[-1] == "."
    check_half(words[:comma], "+", terms, modulus)
    check_half(words[comma + 1 : -1], "*", terms, modulus)


def text_of(task: SumsAndProducts, ids) -> str:
    words = task.vocabulary()
    return " ".join(words[index] for index in ids)


def is_right(problem, answer):
    return TASK.grader.quick(problem, answer).is_correct


def test_the_example_of_the_documentation():
    problem = TASK.problem("easy", np.array([7, 35, 12]))
    assert (problem.prompt, problem.answer) == ("7 35 12 :", "54 59")
    documented = "12 + 35 = 47 + 7 = 54 , 35 * 7 = 44 * 12 = 59 ."
    check_solution(documented, [7, 35, 12], 67)
    assert is_right(problem, TASK.read(documented))


def test_answers_are_what_brute_computation_gives():
    for problem in TASK.problems():
        terms = terms_of(problem.prompt)
        assert problem.answer == brute(terms, TASK.modulus)
        check_solution(TASK.solution(problem), terms, TASK.modulus)
        assert TASK.read(TASK.solution(problem)) == problem.answer


@settings(deadline=None, max_examples=60)
@given(
    modulus=st.sampled_from([5, 7, 31, 67, 101]),
    num_terms=st.integers(3, 9),
    exponent=st.floats(0, 2.5),
    seed=st.integers(0, 2**32 - 1),
    held_out=st.booleans(),
)
def test_rows_are_prompts_with_right_solutions(modulus, num_terms, exponent, seed, held_out):
    task = SumsAndProducts(1, 0, modulus, {"it": Level(num_terms, exponent)})
    rows = task.rows("it", 5, np.random.default_rng(seed), held_out=held_out)
    assert rows.shape == (5, task.row_tokens("it"))
    cut = task.prompt_tokens("it")
    for row in rows:
        prompt, solution = text_of(task, row[:cut]), text_of(task, row[cut:])
        terms = terms_of(prompt)
        check_solution(solution, terms, modulus)
        assert task.read(solution) == brute(terms, modulus)
        assert is_held_out(np.array([terms]))[0] == held_out


def test_problems_are_the_same_for_a_seed_and_differ_between_seeds():
    again = SumsAndProducts(num_problems=120, seed=3, modulus=67, levels=LEVELS)
    other = SumsAndProducts(num_problems=120, seed=4, modulus=67, levels=LEVELS)
    assert again.problems() == TASK.problems()
    assert other.problems() != TASK.problems()
    # Fixed for good: these problems have the same names on every machine and in every release.
    assert [problem.name for problem in TASK.problems()[:3]] == PINNED


def test_problems_are_distinct_in_their_terms_and_even_over_levels():
    problems = TASK.problems()
    assert len(problems) == 120
    assert len({tuple(sorted(terms_of(problem.prompt))) for problem in problems}) == 120
    assert len({problem.name for problem in problems}) == 120
    assert [problem.level for problem in problems[:4]] == ["easy", "medium", "hard", "easy"]
    for level, setting in LEVELS.items():
        of_level = [problem for problem in problems if problem.level == level]
        assert len(of_level) == 40
        assert {len(terms_of(problem.prompt)) for problem in of_level} == {setting.num_terms}


def test_too_many_problems_is_said_rather_than_searched_for():
    with pytest.raises(ValueError, match="too few distinct problems"):
        SumsAndProducts(8, 0, 5, {"it": Level(3, 0.0)}).problems()


def test_no_training_row_has_the_terms_of_a_held_out_problem_in_any_order():
    rng = np.random.default_rng(11)
    task = SumsAndProducts(num_problems=450, seed=1, modulus=67, levels=LEVELS)
    held_out = {tuple(sorted(terms_of(problem.prompt))) for problem in task.problems()}
    for level in LEVELS:
        rows = task.rows(level, 20_000, rng, held_out=False)
        terms = np.sort(rows[:, : task.prompt_tokens(level) - 1], axis=1)
        assert not held_out & set(map(tuple, terms.tolist()))


@given(terms=st.lists(st.integers(2, 66), min_size=3, max_size=8), data=st.data())
def test_whether_a_problem_is_held_out_does_not_depend_on_the_order(terms, data):
    other = data.draw(st.permutations(terms))
    assert is_held_out(np.array([terms])) == is_held_out(np.array([other]))


def test_one_in_eight_is_held_out():
    drawn = np.random.default_rng(0).integers(2, 67, (80_000, 4))
    assert is_held_out(drawn).mean() == pytest.approx(1 / HELD_OUT_ONE_IN, abs=0.006)


def test_training_rows_take_many_paths_to_one_answer():
    rows = TASK.rows("easy", 20_000, np.random.default_rng(0), held_out=False)
    cut = TASK.prompt_tokens("easy")
    sets = np.sort(rows[:, : cut - 1], axis=1)
    distinct, counts = np.unique(sets[(np.diff(sets) > 0).all(1)], axis=0, return_counts=True)
    frequent = distinct[counts.argmax()]
    paths = {text_of(TASK, row) for row in rows[(sets == frequent).all(1)][:, cut:]}
    assert len(paths) == 36  # 3! orders of adding by 3! of multiplying
    assert {TASK.read(path) for path in paths} == {brute(frequent.tolist(), 67)}


def test_terms_follow_zipfs_law():
    rows = TASK.draw("medium", 200_000, np.random.default_rng(0), held_out=False)
    first, second, tenth = (np.mean(rows == TASK.terms_by_rank()[rank]) for rank in (0, 1, 9))
    assert first / second == pytest.approx(2**1.1, rel=0.1)
    assert first / tenth == pytest.approx(10**1.1, rel=0.15)
    assert set(np.unique(rows)) <= set(range(2, 67))


def test_guessing_covers_nothing():
    """Thousands of answers are possible, and held-out problems use them: the commonest is rare."""
    every = {brute((x, y, z), 67) for x in range(2, 67) for y in range(x, 67) for z in range(y, 67)}
    assert len(every) > 0.99 * 67 * 66
    task = SumsAndProducts(num_problems=450, seed=1, modulus=67, levels=LEVELS)
    _, counts = np.unique([problem.answer for problem in task.problems()], return_counts=True)
    assert counts.max() <= 6


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("12 + 35 = 47 + 7 = 54 , 35 * 7 = 44 * 12 = 59 .", "54 59"),
        ("7 + 12 = 19 + 35 = 54 , 12 * 35 = 18 * 7 = 59 .", "54 59"),
        ("  12 + 35 = 47 + 7 = 54 ,\n35 * 7 = 44 * 12 = 59 . ", "54 59"),
        ("1 + 2 = 9 , 1 * 2 = 0 .", "9 0"),  # wrong, but an answer
    ],
)
def test_an_answer_is_read_whatever_the_steps(text, answer):
    assert TASK.read(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        ", .",
        "54 59",
        "54 , 59 .",
        "12 + 35 = 47 + 7 = 54 , 35 * 7 = 44 * 12 = 59",  # not ended
        "12 + 35 = 47 + 7 = 54 .",  # no product
        "12 + 35 = 47 + 7 = 54 , 35 * 7 = .",
        "12 + 35 = 47 + 7 = , 35 * 7 = 44 * 12 = 59 .",
        "12 + 35 = 47 + 7 , 35 * 7 = 44 * 12 = 59 .",
        "12 + 35 = 54 , 35 * 7 = * .",
        "12 + 35 = <unk> , 35 * 7 = 59 .",
        "12 + 35 = ² , 35 * 7 = 59 .",
        "12 + 35 = -4 , 35 * 7 = 59 .",
        "12 + 35 = 54 , 35 * 7 = 44 , 44 * 12 = 59 .",
        "12 + 35 = 54 . 3 = 4 , 35 * 7 = 59 .",
        "12 + 35 = 54 , 35 * 7 = 59 . .",
    ],
)
def test_garbled_text_has_no_answer(text):
    assert TASK.read(text) is None


def test_a_truncated_solution_has_no_answer():
    for problem in TASK.problems()[:9]:
        words = TASK.solution(problem).split()
        assert all(TASK.read(" ".join(words[:end])) is None for end in range(len(words)))


@given(words=st.lists(st.sampled_from(TASK.vocabulary()), max_size=40))
def test_read_never_raises_and_gives_two_numbers_or_none(words):
    answer = TASK.read(" ".join(words))
    assert answer is None or re.fullmatch(r"\d+ \d+", answer)


@given(text=st.text(max_size=60))
def test_read_never_raises_on_any_text(text):
    answer = TASK.read(text)
    assert answer is None or re.fullmatch(r"[0-9]+ [0-9]+", answer)


def test_grading_is_exact():
    problem = TASK.problem("easy", np.array([7, 35, 12]))
    assert is_right(problem, "54 59")
    assert not any(is_right(problem, wrong) for wrong in ("54 58", "59 54", "54", "", "054 59"))


def test_words_are_distinct_and_cover_every_row():
    words = TASK.vocabulary()
    assert len(set(words)) == len(words) == 67 + 6
    for level in LEVELS:
        rows = TASK.rows(level, 200, np.random.default_rng(0), held_out=False)
        assert rows.min() >= 0
        assert rows.max() < len(words)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Level(2, 1.0), "num_terms is 2"),
        (lambda: Level(3, -0.1), "zipf_exponent is -0.1"),
        (lambda: SumsAndProducts(0, 0, 67, LEVELS), "num_problems is 0"),
        (lambda: SumsAndProducts(1, 0, 66, LEVELS), "modulus is 66"),
        (lambda: SumsAndProducts(1, 0, 67, {}), "levels is empty"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_packaged_task_matches_its_ladder_and_its_longest_solution_fits():
    task, ladder, quickstart = (
        OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
        for group, name in (
            ("task", "arithmetic"),
            ("ladder", "arithmetic"),
            ("experiment", "quickstart"),
        )
    )
    assert TASKS[task["kind"]] is SumsAndProducts
    for key in ("modulus", "levels"):
        assert task[key] == ladder["recipe"][key]
    levels = {name: Level(**level) for name, level in task["levels"].items()}
    made = SumsAndProducts(task["num_problems"], task["seed"], task["modulus"], levels)
    longest = max(len(made.solution(problem).split()) for problem in made.problems())
    assert quickstart["max_tokens"] == longest + 2
    hardness = [(level.num_terms, -level.zipf_exponent) for level in levels.values()]
    assert all(easier < harder for easier, harder in pairwise(hardness))
