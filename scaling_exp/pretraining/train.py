"""Train one size of a ladder with Hugging Face's `Trainer`, keeping checkpoints on the way.

Rows of one level have one length, so a batch holds one level and no padding; levels take turns. Only solution tokens
carry loss: a prompt is random. Weights are stored as float32 safetensors.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path as FilePath

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import IterableDataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from scaling_exp.pretraining import Checkpoint, Corpus, Recipe

# Axis suffixes: R rows, T tokens of a row.

IGNORED = -100
UNKNOWN = "<unk>"
HELD_OUT_SEED = 2**31
EPOCHS_SEED = 1


def train(recipe: Recipe, size_name: str, folder: FilePath) -> list[Checkpoint]:
    """Train one size; one subfolder and one record a checkpoint."""
    return [
        checkpoint
        for run in runs_of(recipe)
        for checkpoint in train_run(recipe, run, size_name, folder)
    ]


@dataclass(frozen=True)
class Run:
    """One training from scratch: its tokens, the shares of them at which weights are kept, the cap on its corpus."""

    tokens: int
    checkpoints: tuple[float, ...]
    unique_tokens: int | None

    @property
    def suffix(self) -> str:
        """Ends the names of its checkpoints."""
        return "" if self.unique_tokens is None else f"-of-{self.unique_tokens / 1e6:.2f}M"


def runs_of(recipe: Recipe) -> list[Run]:
    """One run a cap and one without; with schedules of their own as many for every checkpoint."""
    wholes = [(recipe.tokens, recipe.checkpoints)]
    if recipe.own_schedules:
        wholes = [(round(share * recipe.tokens), (1.0,)) for share in recipe.checkpoints]
    return [
        Run(tokens, checkpoints, cap)
        for tokens, checkpoints in wholes
        for cap in (None, *recipe.caps)
        if cap is None or cap < tokens  # else it would never be repeated
    ]


def train_run(recipe: Recipe, run: Run, size_name: str, folder: FilePath) -> list[Checkpoint]:
    """One training from scratch; a record of each of its checkpoints."""
    torch.set_num_threads(1 if not torch.cuda.is_available() else torch.get_num_threads())
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(llama_config(recipe, recipe.sizes[size_name].hidden_size))
    schedule = Schedule.of(recipe, run)
    keep = KeepCheckpoints(recipe, size_name, folder, schedule, run.suffix)
    Trainer(
        model=model,
        args=training_arguments(
            folder / f".{size_name}",
            num_steps=schedule.num_steps,
            learning_rate=recipe.sizes[size_name].learning_rate,
            warmup_share=recipe.warmup_share,
            decay_share=recipe.decay_share,
            seed=recipe.seed,
        ),
        train_dataset=Batches(recipe, schedule.rounds_per_epoch),
        data_collator=lambda batches: batches[0],
        callbacks=[keep],
    ).train()
    shutil.rmtree(folder / f".{size_name}", ignore_errors=True)  # what Trainer leaves behind
    return keep.checkpoints


def llama_config(recipe: Recipe, hidden_size: int) -> LlamaConfig:
    """Shapes of one size. The initial scale is 1/sqrt(width): at the default 0.02 small widths do not learn."""
    words = recipe.corpus.vocabulary()
    num_heads = max(1, hidden_size // recipe.head_dim)
    return LlamaConfig(
        vocab_size=len(words) + 1,  # and one for words that it does not know
        hidden_size=hidden_size,
        intermediate_size=recipe.intermediate_ratio * hidden_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dim=recipe.head_dim,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=hidden_size**-0.5,
        bos_token_id=None,
        eos_token_id=words.index("."),
        pad_token_id=None,
    )


def training_arguments(
    folder: FilePath,
    *,
    num_steps: int,
    learning_rate: float,
    warmup_share: float,
    decay_share: float,
    seed: int,
) -> TrainingArguments:
    """Warm-up, constant rate, linear decay (Hu et al. 2024, arXiv 2404.06395), so early checkpoints are of one run."""
    num_warmup, num_decay = int(warmup_share * num_steps), int(decay_share * num_steps)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=num_steps,
        per_device_train_batch_size=1,  # an item is a whole batch already
        learning_rate=learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={
            "num_decay_steps": num_decay,
            "min_lr_ratio": 0.05,
            "decay_type": "linear",
        },
        warmup_steps=num_warmup,
        adam_beta2=0.98,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=seed,
        save_strategy="no",
        logging_steps=max(1, num_steps // 20),
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
    )


@dataclass(frozen=True)
class Schedule:
    """Where the tokens of a recipe fall in steps. Every level's batch has its own number of tokens."""

    num_steps: int
    kept_steps: tuple[int, ...]
    tokens_per_round: int
    num_levels: int
    rounds_per_epoch: int | None
    """Rounds until the corpus is exhausted; None when it never is."""

    @classmethod
    def of(cls, recipe: Recipe, run: Run) -> Schedule:
        """One round is one batch of each level; checkpoints and epochs end on whole rounds."""
        levels = recipe.corpus.levels
        tokens = recipe.batch_rows * sum(recipe.corpus.row_tokens(level) for level in levels)
        rounds = [max(1, round(share * run.tokens / tokens)) for share in run.checkpoints]
        kept = tuple(len(levels) * each for each in rounds)
        cap = run.unique_tokens
        epoch = None if cap is None else max(1, round(cap / tokens))
        return cls(kept[-1], kept, tokens, len(levels), epoch)

    def tokens_after(self, step: int) -> int:
        """Tokens seen after a kept step."""
        return step // self.num_levels * self.tokens_per_round

    def unique_tokens_after(self, step: int) -> int | None:
        """Tokens of the corpus when it had been repeated by a kept step; None when not."""
        epoch = self.rounds_per_epoch
        if epoch is None or step // self.num_levels <= epoch:
            return None
        return epoch * self.tokens_per_round


class Batches(IterableDataset):
    """Endless batches, levels in turn; the same rows in the same order for every size.

    A capped corpus is the beginning of the endless one: its first epoch sees the same batches.
    """

    def __init__(self, recipe: Recipe, rounds_per_epoch: int | None) -> None:
        self.recipe, self.rounds_per_epoch = recipe, rounds_per_epoch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for level, ids_RT in self.rows():
            yield inputs(ids_RT, self.recipe.corpus.prompt_tokens(level))

    def rows(self) -> Iterator[tuple[str, np.ndarray]]:
        """Level and token ids of every batch, without end."""
        num_rounds = self.rounds_per_epoch
        if num_rounds is None:
            yield from self.fresh_rows()
            return
        levels = list(self.recipe.corpus.levels)
        epoch = list(islice(self.fresh_rows(), num_rounds * len(levels)))
        yield from epoch
        corpus = {
            level: np.concatenate([ids_RT for each, ids_RT in epoch if each == level])
            for level in levels
        }
        yield from self.repeated_rows(corpus)

    def fresh_rows(self) -> Iterator[tuple[str, np.ndarray]]:
        """Batches of rows that were never seen before (but for chance)."""
        rng = np.random.default_rng(self.recipe.seed)
        corpus, num_rows = self.recipe.corpus, self.recipe.batch_rows
        while True:
            for level in corpus.levels:
                yield level, corpus.rows(level, num_rows, rng, held_out=False)

    def repeated_rows(self, corpus: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Epoch after epoch of the same rows, shuffled anew inside each level."""
        rng = np.random.default_rng((self.recipe.seed, EPOCHS_SEED))
        num_rows = self.recipe.batch_rows
        while True:
            shuffled = {level: rng.permutation(ids_RT) for level, ids_RT in corpus.items()}
            for first in range(0, len(next(iter(shuffled.values()))), num_rows):
                for level, ids_RT in shuffled.items():
                    yield level, ids_RT[first : first + num_rows]


def inputs(ids_RT: np.ndarray, prompt_tokens: int) -> dict[str, torch.Tensor]:
    """A batch as the model takes it; the prompt is ignored by the loss."""
    labels_RT = ids_RT.copy()
    labels_RT[:, :prompt_tokens] = IGNORED
    return {"input_ids": torch.from_numpy(ids_RT), "labels": torch.from_numpy(labels_RT)}


class KeepCheckpoints(TrainerCallback):
    """Stores weights at the recipe's steps, with the held-out loss of what was stored."""

    def __init__(
        self, recipe: Recipe, size_name: str, folder: FilePath, schedule: Schedule, suffix: str
    ) -> None:
        self.recipe, self.size_name = recipe, size_name
        self.folder, self.schedule, self.suffix = folder, schedule, suffix
        self.checkpoints: list[Checkpoint] = []
        self.started = time.perf_counter()

    def on_step_end(self, args, state, control, *, model, **_) -> None:  # noqa: ARG002
        if state.global_step in self.schedule.kept_steps:
            self.checkpoints.append(self.keep(model, state.global_step))

    def keep(self, model: LlamaForCausalLM, step: int) -> Checkpoint:
        """Write one checkpoint and its tokenizer; its record."""
        tokens = self.schedule.tokens_after(step)
        name = f"{self.size_name}-{tokens / 1e6:.1f}M{self.suffix}"
        model.save_pretrained(self.folder / name)
        write_tokenizer(self.recipe.corpus, self.folder / name)
        num_parameters = sum(weights.numel() for weights in model.parameters())
        return Checkpoint(
            name=name,
            size=self.size_name,
            num_parameters=num_parameters,
            num_non_embedding_parameters=num_parameters - model.model.embed_tokens.weight.numel(),
            tokens=tokens,
            steps=step,
            pretraining_flops=6.0 * num_parameters * tokens,
            held_out_loss=held_out_loss(model, self.recipe),
            seed=self.recipe.seed,
            train_seconds=round(time.perf_counter() - self.started, 1),
            unique_tokens=self.schedule.unique_tokens_after(step),
        )


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, recipe: Recipe) -> float:
    """Mean cross-entropy over held-out solutions, nats a token, levels in equal shares of rows."""
    model.eval()
    rng = np.random.default_rng(recipe.seed + HELD_OUT_SEED)
    corpus, num_rows = recipe.corpus, recipe.held_out_rows // len(recipe.corpus.levels)
    total, num_tokens = 0.0, 0
    for level in corpus.levels:
        ids_RT = corpus.rows(level, num_rows, rng, held_out=True)
        held_out = inputs(ids_RT, corpus.prompt_tokens(level))
        count = int((held_out["labels"] != IGNORED).sum())
        on_device = {name: tensor.to(model.device) for name, tensor in held_out.items()}
        total += float(model(**on_device).loss) * count
        num_tokens += count
    model.train()
    return round(total / num_tokens, 6)


def write_tokenizer(corpus: Corpus, folder: FilePath) -> None:
    """A word-level tokenizer: one token a number or symbol, split at spaces."""
    words = {word: index for index, word in enumerate((*corpus.vocabulary(), UNKNOWN))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": ".",
        "unk_token": UNKNOWN,
        "model_max_length": 128,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
