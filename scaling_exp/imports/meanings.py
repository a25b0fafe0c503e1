"""What a column can mean, what it then holds, and by which names people call it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Holds = Literal["text", "flag", "whole", "number"]

SELECTORS: Mapping[str, tuple[str, ...]] = {
    "single": ("first", "greedy", "one", "pass@1"),
    "voting": ("maj", "majority", "vote", "self-consistency", "maj@k", "cons@k"),
    "oracle": ("pass", "coverage", "pass@k"),
    "best_of": ("best-of-n", "best_of_n", "bon", "best-of-k"),
    "weighted_voting": ("weighted", "weighted-vote", "weighted_vote"),
}
"""The selectors of an accuracy, and other names for them."""

INT32, INT64 = 2**31 - 1, 2**63 - 1


@dataclass(frozen=True)
class Meaning:
    """What a column holds, its usual names beside its own (`_` stands for any punctuation; case does not count except
    for single letters), and the largest whole number that it can hold."""

    holds: Holds
    names: tuple[str, ...] = ()
    largest: int = INT64


MEANINGS: Mapping[str, Meaning] = {
    "model": Meaning("text", ("model_name", "model_id", "llm")),
    "strategy": Meaning("text", ("method", "decoding")),
    "problem": Meaning(
        "text",
        (
            *("problem_id", "problem_idx", "task_id", "question_id", "doc_id", "instance_id"),
            *("orig_dset_idx", "example_id", "qid", "idx", "index", "id"),
        ),
    ),
    "level": Meaning("text", ("difficulty",)),
    "cluster": Meaning("text", ("cluster_id",)),
    "sample": Meaning(
        "whole", ("sample_id", "sample_index", "sample_idx", "attempt", "trial"), INT32
    ),
    "answer": Meaning(
        "text",
        ("pred", "preds", "prediction", "predictions", "extracted_answer", "model_answer"),
    ),
    "gold": Meaning(
        "text",
        (
            *("gold_answer", "gt", "gt_answer", "ground_truth", "reference_answer", "reference"),
            *("correct_answer", "expected", "target"),
        ),
    ),
    "is_correct": Meaning(
        "flag",
        (
            *("is_corrects", "correct", "corrects", "passed", "success", "resolved"),
            *("exact_match", "is_right", "right"),
        ),
    ),
    "score": Meaning("number", ("reward", "rewards", "pred_score", "rm_score", "verifier_score")),
    "text": Meaning(
        "text",
        ("completion", "completions", "response", "responses", "generation", "output", "samples"),
    ),
    "prompt": Meaning("text", ("question", "problem_text")),
    "truncated": Meaning("flag", ("is_truncated",)),
    "num_prompt_tokens": Meaning("whole", ("prompt_tokens", "input_tokens"), INT32),
    "num_output_tokens": Meaning(
        "whole", ("output_tokens", "completion_tokens", "generated_tokens", "num_tokens"), INT32
    ),
    "num_samples": Meaning("whole", ("n", "n_samples", "num_samples_total", "num_total", "total")),
    "num_correct": Meaning("whole", ("c", "n_correct", "num_samples_correct", "num_successes")),
    "selector": Meaning("text", ("metric",)),
    "k": Meaning("whole", ("budget", "num_attempts"), INT32),
    "accuracy": Meaning("number", ("acc", "pass_rate", "solve_rate")),
    "standard_error": Meaning("number", ("stderr", "se", "acc_stderr")),
    "num_problems": Meaning("whole", ("n_problems",)),
    "num_parameters": Meaning("whole", ("N", "params", "parameters", "n_params")),
    "num_active_parameters": Meaning("whole", ("active_parameters", "active_params")),
    "num_non_embedding_parameters": Meaning("whole", ("non_embedding_parameters",)),
    "pretraining_tokens": Meaning("whole", ("D", "train_tokens", "training_tokens")),
    "unique_tokens": Meaning("whole"),
    "pretraining_loss": Meaning("number", ("loss",)),
    "family": Meaning("text", ("model_family",)),
    "is_distilled": Meaning("flag", ("distilled",)),
}

FACTS = tuple(list(MEANINGS)[list(MEANINGS).index("num_parameters") :])
"""What a table can say of a model."""

_ANY = ("model", "strategy", *FACTS)
_OF_PROBLEMS = (
    "problem",
    "level",
    "cluster",
    "gold",
    "prompt",
    "num_prompt_tokens",
    "num_output_tokens",
)

OF_KIND: Mapping[str, tuple[str, ...]] = {
    "samples": (
        *(*_ANY, *_OF_PROBLEMS),
        *("sample", "answer", "is_correct", "score", "text", "truncated"),
    ),
    "counts": (*_ANY, *_OF_PROBLEMS, "num_samples", "num_correct"),
    "points": (
        *(*_ANY, "level", "num_output_tokens"),
        *("selector", "k", "accuracy", "standard_error", "num_problems"),
    ),
}
"""The meanings that a kind of source can have."""


def recognised(columns: Sequence[str], meanings: Iterable[str]) -> dict[str, str]:
    """Meaning -> column, for the columns that go by a usual name; the earlier name wins.

    `answer` is what the model said only where the right answer has another name: in many files it is the right one.
    """
    plain = {_plain(column): column for column in reversed(columns)}

    def called(meaning: str) -> list[str]:
        names = (meaning, *MEANINGS[meaning].names)
        return [plain[_plain(name)] for name in names if _plain(name) in plain]

    found: dict[str, str] = {}
    for meaning in meanings:
        known = called(meaning)
        if meaning == "answer" and known and known[0] == plain.get("answer"):
            known = known[1:] or (known if called("gold") or called("sample") else [])
        if known and known[0] not in found.values():
            found[meaning] = known[0]
    return found


def _plain(name: str) -> str:
    if len(name.strip()) == 1:
        return name.strip()
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def selector_of(name: str) -> str | None:
    """The selector that is called so; None when it is not known."""
    plain = name.strip().lower()
    for selector, others in SELECTORS.items():
        if plain == selector or plain in others:
            return selector
    return None
