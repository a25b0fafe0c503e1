"""Which samples the page carries, and their compact form: a seeded choice of problems, every model,
bounded in bytes.

The table is read a batch at a time and only the columns and the rows that are wanted are kept, so
a run of any size can be browsed. Votes are counted over all samples of a problem; only the texts
are thinned when they would not fit, some right, wrong, truncated and unparsable ones kept of each.

Axes: S samples of the chosen problems, sorted by problem, model, strategy and sample; T distinct
texts.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from scaling_exp.report.wording import is_missing

MAX_PROBLEMS = 300
MAX_ROWS = 1_000_000
"""Samples whose votes are counted: fewer problems are chosen where each of them has many."""
MAX_TEXTS = 120_000
MAX_BYTES = 3_600_000
MAX_TEXT_CHARACTERS = 20_000
MAX_ANSWER_CHARACTERS = 300
MAX_VOTES = 30
BYTES_PER_PROBLEM, BYTES_PER_DRAW, BYTES_PER_VOTE, BYTES_PER_SAMPLE = 80, 120, 20, 30
TEXTS_PER_DRAW = (1 << 30, 128, 64, 32, 16, 8, 4, 2, 1)
FEW_TEXTS, FEW_PROBLEMS = 4, 60
"""Problems are dropped down to so many before fewer texts of each are kept."""
NAMES = ("problem", "model", "strategy")
FACTS = (*NAMES, "sample", "answer", "is_correct", "truncated", "num_output_tokens", "score")
NONE = -1

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class BrowsedDraw:
    """What one model drew for one problem under one strategy.

    `votes` holds [index into the answers, count, is_correct, mean score or None], most votes first,
    at most `MAX_VOTES` of `num_answers`; `samples` holds [number, index into the answers or None,
    is_correct, truncated, output tokens or None, index into the texts or None, score or None],
    possibly fewer than `num_samples`.
    """

    model: int
    strategy: str
    num_samples: int
    num_right: int
    num_truncated: int
    num_unparsable: int
    num_answers: int
    votes: Sequence[Sequence[object]]
    samples: Sequence[Sequence[object]]


@dataclass(frozen=True)
class BrowsedProblem:
    """One problem with everything drawn for it, smallest model first. A prompt or an answer that
    was not imported is None."""

    name: str
    level: str
    prompt: str | None
    answer: str | None
    draws: list[BrowsedDraw]


@dataclass(frozen=True)
class Embedded:
    """What the page carries, and of how much: answers and texts are shared by index."""

    problems: list[BrowsedProblem]
    answers: list[str]
    texts: list[str]
    num_problems: int
    num_samples: int
    num_samples_shown: int


@dataclass(frozen=True)
class Facts:
    """All samples of the chosen problems as columns. Codes index `problems` (as chosen), the models
    of the page, `strategies` and `answers`; `NONE` is no answer, NaN what is not known.

    `turn_S` is the place of a sample among those of its draw when texts are kept: a right, a wrong,
    a truncated and an unparsable one first.
    """

    problems: Sequence[str]
    strategies: Sequence[str]
    answers: Sequence[str]
    row_S: Ints
    problem_S: Ints
    model_S: Ints
    strategy_S: Ints
    sample_S: Ints
    answer_S: Ints
    is_correct_S: NDArray[np.bool_]
    is_truncated_S: NDArray[np.bool_]
    output_tokens_S: NDArray[np.float64]
    score_S: NDArray[np.float64]
    draw_S: Ints
    turn_S: Ints


@dataclass(frozen=True)
class Texts:
    """Distinct texts, bounded, with their bytes as JSON, and which one a sample has."""

    texts: Sequence[str]
    bytes_T: Ints
    text_S: Ints


def embedded_samples(
    run_dir: pathlib.Path, models: Sequence[str], seed: int = 0
) -> Embedded | None:
    """The browser's data from `samples.parquet` and `problems.parquet`: at most about `MAX_BYTES` of
    JSON, or what cannot be less, one problem with one text a draw. None for a run without samples.
    """
    path = run_dir / "samples.parquet"
    if not path.is_file():
        return None
    present = pq.read_schema(path).names
    repeated = [name for name in (*NAMES, "level", "answer") if name in present]
    with pq.ParquetFile(path, read_dictionary=repeated) as file:
        problems = _problems(run_dir / "problems.parquet", file)
        num_rows = file.metadata.num_rows
        affordable = max(1, MAX_ROWS * len(problems) // max(num_rows, 1))
        chosen = choose_problems(problems, min(MAX_PROBLEMS, affordable), seed)
        facts = _facts(file, chosen, models)
        texts = _texts(file, facts)
    described = problems.set_index("problem").loc[chosen]
    plans = list(_plans(len(chosen)))
    for num_problems, num_texts in plans:
        kept = np.isin(chosen, choose_problems(problems, num_problems, seed))
        is_last = (num_problems, num_texts) == plans[-1]
        if is_last or _num_bytes(facts, texts, described, kept, num_texts) <= MAX_BYTES:
            return _embed(facts, texts, described, kept, num_texts, (len(problems), num_rows))
    raise AssertionError("the last plan always fits")


def _plans(num_problems: int) -> Iterator[tuple[int, int]]:
    """Numbers of problems and of texts a draw, the preferred first, the least last."""
    halves = [max(1, num_problems >> by) for by in range(num_problems.bit_length())] or [0]
    for enough in (True, False):
        for problems in halves:
            if enough and problems < min(FEW_PROBLEMS, num_problems):
                continue
            yield from ((problems, t) for t in TEXTS_PER_DRAW if not enough or t >= FEW_TEXTS)


def choose_problems(problems: pd.DataFrame, num_problems: int, seed: int) -> list[str]:
    """Names of at most `num_problems` problems, spread evenly over the levels, the same for the
    same seed; fewer are a part of more."""
    shuffled = problems.sort_values("problem").sample(
        frac=1.0, random_state=np.random.default_rng(seed)
    )
    shuffled = shuffled.assign(turn=shuffled.groupby("level").cumcount())
    chosen = shuffled.sort_values(["turn", "level"], kind="stable").head(num_problems)
    return list(chosen.sort_values(["level", "problem"])["problem"])


def _problems(path: pathlib.Path, file: pq.ParquetFile) -> pd.DataFrame:
    """Name, level, prompt and answer of every problem that has samples; None where not imported."""
    named = file.read(columns=["problem", "level"]).to_pandas().astype(str)
    problems = named.drop_duplicates("problem").assign(prompt=None, answer=None)
    if not path.is_file():
        return problems
    told = pq.read_table(path).to_pandas()
    told = told.assign(problem=told["problem"].astype(str)).set_index("problem")
    columns = {
        name: problems["problem"].map(told[name]) for name in ("prompt", "answer") if name in told
    }
    return problems.assign(**columns)


def _facts(file: pq.ParquetFile, chosen: Sequence[str], models: Sequence[str]) -> Facts:
    """The samples of the chosen problems and of known models."""
    table = _rows_of(file, chosen)
    table = table.loc[table["model"].isin(models).to_numpy(bool)]
    problem, model, strategy, answer = (pd.Categorical(table[n]) for n in (*NAMES, "answer"))
    problem, model = problem.set_categories(list(chosen)), model.set_categories(list(models))
    keys = (table["sample"].to_numpy(), strategy.codes, model.codes, problem.codes)
    order_S = np.lexsort(keys)

    def column(values: ArrayLike) -> np.ndarray:
        return np.asarray(values)[order_S]

    problem_S, model_S, strategy_S = (
        column(each.codes).astype(np.int64) for each in (problem, model, strategy)
    )
    draw_S = _runs(problem_S, model_S, strategy_S)
    answer_S = column(answer.codes).astype(np.int64)
    is_correct_S = column(table["is_correct"]).astype(bool)
    is_truncated_S = column(table["truncated"]).astype(bool)
    kind_S = np.select([is_truncated_S, answer_S == NONE, is_correct_S], [2, 3, 0], 1)
    return Facts(
        problems=chosen,
        strategies=[str(each) for each in strategy.categories],
        answers=[str(each) for each in answer.categories],
        row_S=column(table["row"]),
        problem_S=problem_S,
        model_S=model_S,
        strategy_S=strategy_S,
        sample_S=column(table["sample"]).astype(np.int64),
        answer_S=answer_S,
        is_correct_S=is_correct_S,
        is_truncated_S=is_truncated_S,
        output_tokens_S=column(table["num_output_tokens"]).astype(np.float64),
        score_S=column(table["score"]).astype(np.float64),
        draw_S=draw_S,
        turn_S=_turns(draw_S, kind_S),
    )


def _rows_of(file: pq.ParquetFile, chosen: Sequence[str]) -> pd.DataFrame:
    """The columns of `FACTS` and the row in the file, of the chosen problems; NaN for a column that
    the file lacks."""
    isin, present = pc.SetLookupOptions(pa.array(chosen, pa.string())), set(file.schema_arrow.names)
    columns = [name for name in FACTS if name in present]
    parts, first = [], 0
    for batch in file.iter_batches(columns=columns):
        problem = batch.column("problem")
        is_wanted = pc.call_function("is_in", [problem.dictionary], isin).take(problem.indices)
        at = np.flatnonzero(is_wanted.to_numpy(zero_copy_only=False))
        parts.append(batch.take(pa.array(at)).append_column("row", pa.array(at + first)))
        first += batch.num_rows
    table = pa.Table.from_batches(parts).unify_dictionaries().to_pandas()
    absent = {name: np.nan for name in FACTS if name not in present}
    return table.assign(**absent).assign(truncated=table.get("truncated", False))


def _runs(*keys_S: Ints) -> Ints:
    """Numbers the runs of equal keys in sorted arrays."""
    if not len(keys_S[0]):
        return np.zeros(0, np.int64)
    is_new = np.logical_or.reduce([np.diff(key, prepend=key[0] - 1) != 0 for key in keys_S])
    return np.cumsum(is_new) - 1


def _place_in_run(run_S: Ints) -> Ints:
    """0, 1, 2, ... inside each run of a sorted array."""
    return np.arange(len(run_S)) - np.searchsorted(run_S, run_S)


def _turns(draw_S: Ints, kind_S: Ints) -> Ints:
    """The order in which the samples of a draw take turns: one of each kind, then the next of each."""
    by_kind = np.lexsort([kind_S, draw_S])
    among_kind_S = np.empty(len(draw_S), np.int64)
    among_kind_S[by_kind] = _place_in_run(_runs(draw_S[by_kind], kind_S[by_kind]))
    by_turn = np.lexsort([kind_S, among_kind_S, draw_S])
    turn_S = np.empty(len(draw_S), np.int64)
    turn_S[by_turn] = _place_in_run(draw_S[by_turn])
    return turn_S


def _texts(file: pq.ParquetFile, facts: Facts) -> Texts:
    """The texts that may be kept: of as many samples a draw as `MAX_TEXTS` allows."""
    text_S = np.full(len(facts.row_S), NONE)
    if "text" not in file.schema_arrow.names:
        return Texts([], np.zeros(0, np.int64), text_S)
    most = next(t for t in TEXTS_PER_DRAW if (facts.turn_S < t).sum() <= MAX_TEXTS or t == 1)
    candidates = np.flatnonzero(facts.turn_S < most)
    candidates = candidates[np.argsort(facts.row_S[candidates])]
    known: dict[str, int] = {}
    found = _read_texts(file, facts.row_S[candidates])
    for at, text in zip(candidates.tolist(), found, strict=True):
        if text is not None:
            text_S[at] = known.setdefault(_bounded(text, MAX_TEXT_CHARACTERS), len(known))
    return Texts(list(known), np.array([_json_bytes(text) for text in known], np.int64), text_S)


def _read_texts(file: pq.ParquetFile, row_C: Ints) -> Iterator[str | None]:
    """The texts of ascending rows; row groups without any of them are not read."""
    first = 0
    for group in range(file.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        if np.searchsorted(row_C, last) > np.searchsorted(row_C, first):
            for batch in file.iter_batches(row_groups=[group], columns=["text"]):
                of_batch = slice(*np.searchsorted(row_C, [first, first + batch.num_rows]))
                yield from batch.column(0).take(pa.array(row_C[of_batch] - first)).to_pylist()
                first += batch.num_rows
        first = last


def _bounded(text: str, num_characters: int) -> str:
    if len(text) <= num_characters:
        return text
    return text[:num_characters] + f"\n[cut here by the report: {len(text):,} characters]"


def _json_bytes(text: str) -> int:
    """Bytes of a string in the page, where `<`, `>` and `&` are escaped."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) + 5 * sum(
        map(text.count, "<>&")
    )


def _num_bytes(
    facts: Facts,
    texts: Texts,
    described: pd.DataFrame,
    is_kept_P: NDArray[np.bool_],
    num_texts: int,
) -> int:
    """About what the chosen problems take as JSON."""
    words = described.loc[is_kept_P, ["prompt", "answer"]].to_numpy().ravel()
    prompts = sum(_json_bytes(_prompt(each) or "") for each in words)
    is_in_S = is_kept_P[facts.problem_S]
    is_shown_S = is_in_S & (facts.turn_S < num_texts)
    votes = np.unique(np.stack([facts.draw_S, facts.answer_S])[:, is_in_S], axis=1)
    voted = np.unique(votes[1])
    codes = voted[voted != NONE].tolist()
    answers = sum(_json_bytes(_answer(str(facts.answers[code]))) for code in codes)
    used = np.unique(texts.text_S[is_shown_S & (texts.text_S >= 0)])
    return int(
        prompts
        + answers
        + BYTES_PER_PROBLEM * is_kept_P.sum()
        + BYTES_PER_DRAW * len(np.unique(votes[0]))
        + BYTES_PER_VOTE * votes.shape[1]
        + BYTES_PER_SAMPLE * is_shown_S.sum()
        + texts.bytes_T[used].sum()
    )


def _prompt(text: object) -> str | None:
    return None if is_missing(text) else _bounded(str(text), MAX_TEXT_CHARACTERS)


def _answer(text: str) -> str:
    return _bounded(text, MAX_ANSWER_CHARACTERS)


def _embed(
    facts: Facts,
    texts: Texts,
    described: pd.DataFrame,
    is_kept_P: NDArray[np.bool_],
    num_texts: int,
    num_all: tuple[int, int],
) -> Embedded:
    """The kept problems, with the first `num_texts` turns of every draw; answers and texts are
    numbered anew."""
    answers: dict[int, int] = {}
    said: dict[int, int] = {}
    draws: dict[int, list[BrowsedDraw]] = {}
    ends = np.searchsorted(
        facts.draw_S, np.arange(facts.draw_S[-1] + 2 if len(facts.draw_S) else 1)
    )
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        if is_kept_P[problem := int(facts.problem_S[start])]:
            part = slice(start, end)
            draw = _draw(facts, texts, part, num_texts, answers, said)
            draws.setdefault(problem, []).append(draw)
    rows = zip(facts.problems, described.to_dict("records"), strict=True)
    shown = [
        BrowsedProblem(
            name=name,
            level=str(row["level"]),
            prompt=_prompt(row["prompt"]),
            answer=_prompt(row["answer"]),
            draws=draws.get(at, []),
        )
        for at, (name, row) in enumerate(rows)
        if is_kept_P[at]
    ]
    return Embedded(
        problems=shown,
        answers=[_answer(facts.answers[code]) for code in answers],
        texts=[texts.texts[code] for code in said],
        num_problems=num_all[0],
        num_samples=num_all[1],
        num_samples_shown=sum(len(draw.samples) for one in shown for draw in one.draws),
    )


def _draw(
    facts: Facts,
    texts: Texts,
    part: slice,
    num_texts: int,
    answers: dict[int, int],
    said: dict[int, int],
) -> BrowsedDraw:
    """One draw; `answers` and `said` number the answers and texts as they are first met."""
    votes = _votes(facts, part)
    shown = np.flatnonzero(facts.turn_S[part] < num_texts) + part.start
    return BrowsedDraw(
        model=int(facts.model_S[part.start]),
        strategy=facts.strategies[int(facts.strategy_S[part.start])],
        num_samples=part.stop - part.start,
        num_right=int(facts.is_correct_S[part].sum()),
        num_truncated=int(facts.is_truncated_S[part].sum()),
        num_unparsable=int((facts.answer_S[part] == NONE).sum()),
        num_answers=len(votes),
        votes=[[_numbered(answers, code), *rest] for code, *rest in votes[:MAX_VOTES]],
        samples=[
            [
                int(facts.sample_S[at]),
                _numbered(answers, int(facts.answer_S[at])),
                bool(facts.is_correct_S[at]),
                bool(facts.is_truncated_S[at]),
                _known(float(facts.output_tokens_S[at])),
                _numbered(said, int(texts.text_S[at])),
                _known(float(facts.score_S[at])),
            ]
            for at in shown.tolist()
        ],
    )


def _votes(facts: Facts, part: slice) -> list[tuple[int, int, bool, float | None]]:
    """(answer, count, is_correct, mean score), most votes first."""
    answer_S = facts.answer_S[part]
    codes, inverse_S, counts = np.unique(answer_S, return_inverse=True, return_counts=True)
    right = np.bincount(inverse_S, facts.is_correct_S[part], len(codes)) > 0
    score = np.bincount(inverse_S, facts.score_S[part], len(codes)) / counts
    votes = [
        (int(codes[at]), int(counts[at]), bool(right[at]), _known(float(score[at])))
        for at in np.lexsort([codes, -counts])
    ]
    return [vote for vote in votes if vote[0] != NONE]


def _numbered(numbers: dict[int, int], code: int) -> int | None:
    return None if code == NONE else numbers.setdefault(code, len(numbers))


def _known(value: float) -> float | None:
    if not np.isfinite(value):
        return None
    return int(value) if value == int(value) else round(float(value), 4)
