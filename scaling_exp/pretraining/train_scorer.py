"""Train a scorer on what a ladder drew: sample, grade, fine-tune one of its checkpoints, judge on held-out problems.

Draws of one level have prompts of one length, so a batch holds one level; solutions are padded on the right, where a
causal model does not see the padding.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path as FilePath

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.data import IterableDataset
from transformers import LlamaForCausalLM, Trainer
from transformers.modeling_outputs import CausalLMOutputWithPast

from scaling_exp.pretraining import Checkpoint, manifest_checkpoints
from scaling_exp.pretraining.calibration import Bin, Quality, Selection, quality, reliability
from scaling_exp.pretraining.calibration import selection as selected
from scaling_exp.pretraining.scorer import Scorer, ScorerRecipe, write_scorer_manifest
from scaling_exp.pretraining.train import IGNORED, training_arguments, write_tokenizer
from scaling_exp.types import UserError

# Axis suffixes: R rows, T tokens of a row, S scores, P problems, K samples of one.

PADDING = -1
DRAWN_AT_ONCE = 1600
NEAR_IDENTITY = 0.3
RARE = 0.01
"""A step that fewer than this share of the answers reach is not told of by itself."""
GROUPS = (4, 16, 64)
"""Sizes of the groups of samples that answers are selected from."""


@dataclass(frozen=True)
class Draws:
    """Solutions that one size drew to problems of one level, graded."""

    size: str
    prompt_tokens: int
    ids_RT: np.ndarray
    """Prompt and solution; PADDING after its end."""
    answer_R: tuple[str | None, ...]
    is_correct_R: np.ndarray

    @property
    def num_tokens(self) -> int:
        return int((self.ids_RT != PADDING).sum())

    def is_solution_RT(self) -> np.ndarray:
        """Which tokens are of a solution."""
        drawn_RT = self.ids_RT != PADDING
        drawn_RT[:, : self.prompt_tokens] = False
        return drawn_RT


def train(recipe: ScorerRecipe, ladder: FilePath, folder: FilePath) -> Scorer:
    """A scorer in `folder`, and its record. Raises UserError for a size that the ladder lacks."""
    torch.set_num_threads(1 if not torch.cuda.is_available() else torch.get_num_threads())
    started = time.perf_counter()
    last = {each.size: each for each in manifest_checkpoints(ladder)}
    for size in (recipe.base, *recipe.generators, *recipe.judged):
        if size not in last:
            raise UserError(f"the ladder has no size {size}; it is one of {', '.join(last)}")
    draws = [
        each for size in recipe.generators for each in training_draws(recipe, ladder, last[size])
    ]
    model, num_tokens, num_steps = fitted(recipe, ladder / last[recipe.base].name, draws, folder)
    model.save_pretrained(folder)
    write_tokenizer(recipe.corpus, folder)
    judged = [each for size in recipe.judged for each in held_out_draws(recipe, ladder, last[size])]
    qualities, bins, selections = judge(recipe, model, judged)
    num_parameters = sum(weights.numel() for weights in model.parameters())
    scorer = Scorer(
        num_parameters=num_parameters,
        tokens=num_tokens,
        steps=num_steps,
        training_flops=6.0 * num_parameters * num_tokens,
        base_flops=last[recipe.base].pretraining_flops,
        drawn_tokens=sum(each.num_tokens for each in draws),
        drawing_flops=sum(2.0 * last[each.size].num_parameters * each.num_tokens for each in draws),
        share_correct=float(np.concatenate([each.is_correct_R for each in draws]).mean()),
        weights=weights_hash(folder),
        train_seconds=round(time.perf_counter() - started, 1),
        qualities=tuple(qualities),
        reliability=tuple(bins),
        selections=tuple(selections),
    )
    write_scorer_manifest(folder, recipe, scorer)
    return scorer


def weights_hash(folder: FilePath) -> str:
    """SHA-256 of the stored weights, 16 hexadecimal digits."""
    return sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]


def training_draws(recipe: ScorerRecipe, ladder: FilePath, of: Checkpoint) -> list[Draws]:
    """One solution to each of fresh problems that are not held out, by level."""
    corpus, found = recipe.corpus, []
    model = generator(ladder / of.name)
    order = recipe.generators.index(of.size)
    for level_order, level in enumerate(corpus.levels):
        seed = (recipe.seed, order, level_order)
        rng = np.random.default_rng(seed)
        rows_RT = corpus.rows(level, recipe.num_draws, rng, held_out=False)
        prompt_RT = rows_RT[:, : corpus.prompt_tokens(level)]
        gold = [corpus.read(text) for text in texts(corpus.vocabulary(), rows_RT, prompt_RT)]
        found.append(drawn(recipe, of.size, model, prompt_RT, gold, int(rng.integers(2**31))))
    return found


def held_out_draws(recipe: ScorerRecipe, ladder: FilePath, of: Checkpoint) -> list[Draws]:
    """`num_samples` answers to each held-out problem, side by side, by level."""
    words = {word: index for index, word in enumerate(recipe.corpus.vocabulary())}
    model, problems, found = generator(ladder / of.name), recipe.corpus.problems(), []
    for level_order, level in enumerate(recipe.corpus.levels):
        here = [each for each in problems if each.level == level]
        prompts = [[words[word] for word in each.prompt.split()] for each in here]
        prompt_RT = np.array(prompts).repeat(recipe.num_samples, axis=0)
        gold = [each.answer for each in here for _ in range(recipe.num_samples)]
        seed = 1000 * (recipe.seed + 1) + level_order
        found.append(drawn(recipe, of.size, model, prompt_RT, gold, seed))
    return found


def generator(folder: FilePath) -> LlamaForCausalLM:
    """A checkpoint of the ladder, to draw from."""
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device)  # type: ignore[arg-type] - its decorator hides the method


def drawn(
    recipe: ScorerRecipe,
    size: str,
    model: LlamaForCausalLM,
    prompt_RT: np.ndarray,
    gold: Sequence[str | None],
    seed: int,
) -> Draws:
    """One graded solution to each prompt, at temperature 1."""
    torch.manual_seed(seed)
    parts = [
        solutions(model, prompt_RT[first : first + DRAWN_AT_ONCE], recipe.max_tokens)
        for first in range(0, len(prompt_RT), DRAWN_AT_ONCE)
    ]
    ids_RT = np.concatenate([prompt_RT, np.concatenate(parts)], axis=1)
    given = texts(recipe.corpus.vocabulary(), ids_RT, prompt_RT)
    answer_R = tuple(recipe.corpus.read(text) for text in given)
    right = [answer is not None and answer == of for answer, of in zip(answer_R, gold, strict=True)]
    return Draws(size, prompt_RT.shape[1], ids_RT, answer_R, np.array(right))


@torch.inference_mode()
def solutions(model: LlamaForCausalLM, prompt_RT: np.ndarray, max_tokens: int) -> np.ndarray:
    """Token ids (R, max_tokens), up to the end of the solution and then PADDING."""
    prompts = torch.from_numpy(prompt_RT).to(model.device)
    end = model.config.eos_token_id
    assert isinstance(end, int)
    made_RT = model.generate(  # type: ignore[operator]
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=max_tokens,
        pad_token_id=end,
    )[:, prompts.shape[1] :]
    missing = max_tokens - made_RT.shape[1]
    made_RT = np.pad(made_RT.cpu().numpy(), ((0, 0), (0, missing)), constant_values=end)
    ended_RT = np.cumsum(made_RT == end, axis=1) - (made_RT == end) > 0
    return np.where(ended_RT, PADDING, made_RT)


def texts(words: Sequence[str], ids_RT: np.ndarray, prompt_RT: np.ndarray) -> Iterator[str]:
    """Solutions as text. A word that the ladder does not know is no part of any answer."""
    known = [*words, "<unk>"]
    for ids in ids_RT[:, prompt_RT.shape[1] :].tolist():
        yield " ".join(known[index] for index in ids if index != PADDING)


def fitted(
    recipe: ScorerRecipe, base: FilePath, draws: Sequence[Draws], folder: FilePath
) -> tuple[LlamaForCausalLM, int, int]:
    """A trained model, the tokens and the steps of its training."""
    batches = Batches(recipe, draws)
    model = heightened(base, recipe.extra_layers, recipe.seed)
    Trainer(
        model=model,
        args=training_arguments(
            folder / ".training",
            num_steps=len(batches.order),
            learning_rate=recipe.learning_rate,
            warmup_share=recipe.warmup_share,
            decay_share=recipe.decay_share,
            seed=recipe.seed,
        ),
        train_dataset=batches,
        data_collator=lambda items: items[0],
        compute_loss_func=Loss(recipe),
    ).train()
    shutil.rmtree(folder / ".training", ignore_errors=True)
    return model, batches.num_tokens, len(batches.order)


def heightened(base: FilePath, extra_layers: int, seed: int) -> LlamaForCausalLM:
    """A checkpoint with fresh layers on top, which change little at first: so what it knows is not lost."""
    torch.manual_seed(seed)
    below = LlamaForCausalLM.from_pretrained(base)
    num_layers = below.config.num_hidden_layers
    config = deepcopy(below.config)
    config.num_hidden_layers = num_layers + extra_layers
    model = LlamaForCausalLM(config)
    model.load_state_dict(below.state_dict(), strict=False)
    ends = ("o_proj.weight", "down_proj.weight")
    with torch.no_grad():
        for name, weights in model.model.layers[num_layers:].named_parameters():
            if name.endswith(ends):
                weights.mul_(NEAR_IDENTITY)
    return model


class Batches(IterableDataset):
    """Every draw once an epoch, a batch of one level at a time, shuffled anew."""

    def __init__(self, recipe: ScorerRecipe, draws: Sequence[Draws]) -> None:
        by_level: dict[int, list[Draws]] = {}
        for each in draws:
            by_level.setdefault(each.prompt_tokens, []).append(each)
        self.levels = [together(each) for each in by_level.values()]
        self.order = list(self._order(recipe))
        self.num_tokens = sum(int((self._ids_RT(at, rows) >= 0).sum()) for at, rows in self.order)

    def _order(self, recipe: ScorerRecipe) -> Iterator[tuple[int, np.ndarray]]:
        """Level and rows of each batch; levels take turns."""
        rng = np.random.default_rng(recipe.seed)
        for _ in range(recipe.epochs):
            shuffled = [rng.permutation(len(each.ids_RT)) for each in self.levels]
            num_rows = min(map(len, shuffled))
            for first in range(0, num_rows - recipe.batch_rows + 1, recipe.batch_rows):
                for at, rows in enumerate(shuffled):
                    yield at, rows[first : first + recipe.batch_rows]

    def _ids_RT(self, at: int, rows: np.ndarray) -> np.ndarray:
        ids_RT = self.levels[at].ids_RT[rows]
        return ids_RT[:, : int((ids_RT != PADDING).sum(axis=1).max())]

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for at, rows in self.order:
            level = self.levels[at]
            yield inputs(self._ids_RT(at, rows), level.prompt_tokens, level.is_correct_R[rows])


def together(draws: Sequence[Draws]) -> Draws:
    """Draws of several sizes at one level as one."""
    return Draws(
        "",
        draws[0].prompt_tokens,
        np.concatenate([each.ids_RT for each in draws]),
        tuple(answer for each in draws for answer in each.answer_R),
        np.concatenate([each.is_correct_R for each in draws]),
    )


def inputs(
    ids_RT: np.ndarray, prompt_tokens: int, is_correct_R: np.ndarray
) -> dict[str, torch.Tensor]:
    """A batch as the model takes it. `labels` (2, R, T): the outcome at every token of a solution, and the next token
    of right ones; IGNORED elsewhere."""
    drawn_RT = ids_RT != PADDING
    outcome_RT = np.where(drawn_RT, is_correct_R[:, None].astype(ids_RT.dtype), IGNORED)
    outcome_RT[:, :prompt_tokens] = IGNORED
    next_RT = np.full_like(ids_RT, IGNORED)
    is_next_RT = drawn_RT[:, prompt_tokens:] & is_correct_R[:, None]
    next_RT[:, prompt_tokens - 1 : -1] = np.where(is_next_RT, ids_RT[:, prompt_tokens:], IGNORED)
    return {
        "input_ids": torch.from_numpy(np.where(drawn_RT, ids_RT, 0)),
        "labels": torch.from_numpy(np.stack([outcome_RT, next_RT])),
    }


class Loss:
    """Cross-entropy of the outcome, over the two labels alone, and of the next word of right solutions.

    The outcome is asked for after every token, as in OVM, but for those after which a label could be the next word
    (here `=`): it tells at which token a solution went wrong. A step's end is never one of those.
    """

    def __init__(self, recipe: ScorerRecipe) -> None:
        words = recipe.corpus.vocabulary()
        self.good, self.bad = words.index(recipe.good), words.index(recipe.bad)
        self.weight = recipe.language_weight

    def __call__(
        self,
        outputs: CausalLMOutputWithPast,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | None = None,  # noqa: ARG002 - what Trainer hands over
    ) -> torch.Tensor:
        assert outputs.logits is not None
        logits, (outcome_RT, next_RT) = outputs.logits, labels
        asked_RT = outcome_RT != IGNORED
        margin_S = (logits[..., self.good] - logits[..., self.bad])[asked_RT]
        loss = binary_cross_entropy_with_logits(margin_S, outcome_RT[asked_RT].to(logits.dtype))
        if not self.weight or not (next_RT != IGNORED).any():
            return loss
        return loss + self.weight * cross_entropy(
            logits.flatten(0, 1), next_RT.flatten(), ignore_index=IGNORED
        )


@torch.inference_mode()
def score_RT(recipe: ScorerRecipe, model: LlamaForCausalLM, draws: Draws) -> np.ndarray:
    """Scores after every end of a step; NaN elsewhere."""
    words = recipe.corpus.vocabulary()
    good, bad = words.index(recipe.good), words.index(recipe.bad)
    ends = [at for at, word in enumerate(words) if re.fullmatch(recipe.step_end, word)]
    parts = []
    for first in range(0, len(draws.ids_RT), DRAWN_AT_ONCE):
        ids_RT = np.maximum(draws.ids_RT[first : first + DRAWN_AT_ONCE], 0)
        logits = model(input_ids=torch.from_numpy(ids_RT).to(model.device)).logits
        parts.append(torch.sigmoid(logits[..., good] - logits[..., bad]).double().cpu().numpy())
    asked_RT = draws.is_solution_RT() & np.isin(draws.ids_RT, ends)
    return np.where(asked_RT, np.concatenate(parts), np.nan)


@dataclass(frozen=True)
class Judged:
    """Scores of some draws, one an end of a step, and what is told of each."""

    draws: Draws
    score_RT: np.ndarray
    first_problem: int
    """Number of the problem of the first rows."""
    num_samples: int

    @property
    def problem_R(self) -> np.ndarray:
        return self.first_problem + np.arange(len(self.score_RT)) // self.num_samples

    @property
    def last_R(self) -> np.ndarray:
        """Score after the last step; 0 where there is none."""
        has_RT = ~np.isnan(self.score_RT)
        at_R = has_RT.shape[1] - 1 - has_RT[:, ::-1].argmax(axis=1)
        last_R = self.score_RT[np.arange(len(at_R)), at_R]
        return np.where(has_RT.any(axis=1), last_R, 0.0)

    @property
    def least_R(self) -> np.ndarray:
        """Least score of a step; 0 where there is none."""
        least_R = np.where(np.isnan(self.score_RT), np.inf, self.score_RT).min(axis=1)
        return np.where(np.isinf(least_R), 0.0, least_R)

    def at_step(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores after the step of that number, their outcomes and their problems."""
        is_end_RT = ~np.isnan(self.score_RT)
        at_RT = is_end_RT & (np.cumsum(is_end_RT, axis=1) == number)
        rows, _ = np.nonzero(at_RT)
        return self.score_RT[at_RT], self.draws.is_correct_R[rows], self.problem_R[rows]

    def num_steps(self) -> int:
        return int((~np.isnan(self.score_RT)).sum(axis=1).max())


def judge(
    recipe: ScorerRecipe, model: LlamaForCausalLM, draws: Sequence[Draws]
) -> tuple[list[Quality], list[Bin], list[Selection]]:
    """Quality of whole answers, of every step, by step and by generator; reliability; what the scores buy."""
    model.eval()
    judged, first_problem = [], 0
    for each in draws:
        judged.append(
            Judged(each, score_RT(recipe, model, each), first_problem, recipe.num_samples)
        )
        first_problem += len(each.ids_RT) // recipe.num_samples
    steps = [
        pooled([each.at_step(number) for each in judged])
        for number in range(1, max(each.num_steps() for each in judged) + 1)
    ]
    every = pooled(steps)
    qualities = [
        quality("every step", *every),
        quality("whole answers", *pooled([whole(each) for each in judged])),
        *(
            quality(f"step {number}", *each)
            for number, each in enumerate(steps, start=1)
            if len(each[0]) >= RARE * len(steps[0][0])
        ),
        *(
            quality(f"whole answers of {size}", *pooled([whole(each) for each in of_size]))
            for size, of_size in by_size(judged).items()
        ),
    ]
    selections = [
        selection_of(size, of_size, num_samples)
        for size, of_size in by_size(judged).items()
        for num_samples in GROUPS
        if num_samples <= recipe.num_samples and recipe.num_samples % num_samples == 0
    ]
    return qualities, reliability(*every[:2]), selections


def whole(judged: Judged) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of whole answers, their outcomes and their problems."""
    return judged.last_R, judged.draws.is_correct_R, judged.problem_R


def by_size(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for each in judged:
        found.setdefault(each.draws.size, []).append(each)
    return found


def pooled(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, outcomes and problems of all parts together."""
    scores, outcomes, problems = zip(*parts, strict=True)
    return np.concatenate(scores), np.concatenate(outcomes), np.concatenate(problems)


def selection_of(size: str, judged: Sequence[Judged], num_samples: int) -> Selection:
    """From groups of `num_samples` answers, as many as there are."""
    answers = [answer for each in judged for answer in each.draws.answer_R]
    is_correct_R, last_R, least_R = (
        np.concatenate(parts).reshape(-1, num_samples)
        for parts in zip(
            *((each.draws.is_correct_R, each.last_R, each.least_R) for each in judged), strict=True
        )
    )
    groups = [answers[at : at + num_samples] for at in range(0, len(answers), num_samples)]
    return selected(size, groups, is_correct_R, last_R, least_R)
