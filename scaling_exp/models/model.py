"""A model as a folder in Hugging Face's format: its shapes, its fingerprint and its tokenizer.

Reads `config.json`, safetensors headers and `tokenizer.json` only, so it needs neither torch nor transformers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from hashlib import blake2b
from math import nan, prod
from pathlib import Path as FilePath
from typing import Any

from tokenizers import Tokenizer

from scaling_exp.models.architecture import attention_shapes, num_experts_of
from scaling_exp.types import Architecture, Chat, ModelFacts, Problem, Tokens, UserError

INPUT_EMBEDDINGS = ("embed_tokens.weight", "embed_in.weight", "wte.weight")
OUTPUT_EMBEDDINGS = ("lm_head.weight", "embed_out.weight")
ROUTED_EXPERTS = ".experts."
EDGE_BYTES = 1 << 22


@dataclass(frozen=True)
class Model:
    """One model to draw from: a name for plots, where its weights are, and what its pre-training consumed.

    `path` is a folder, or an id of the Hugging Face Hub, taken at `revision`. `dtype` and `quantization` are vLLM's,
    and None leaves them to the engine. `pretraining_tokens` None when D is not known: it then takes part in no trade.
    """

    name: str
    path: str
    pretraining_tokens: int | None = None
    unique_tokens: int | None = None
    pretraining_loss: float | None = None
    revision: str | None = None
    family: str = ""
    is_distilled: bool = False
    dtype: str | None = None
    quantization: str | None = None

    def __post_init__(self) -> None:
        if self.pretraining_tokens is not None and self.pretraining_tokens < 1:
            raise UserError(
                f"pretraining_tokens of model {self.name} is {self.pretraining_tokens}; give D > 0, or null"
                " when it is not known"
            )

    @cached_property
    def config(self) -> dict:
        """The folder's config.json. Raises UserError when it is missing."""
        return json.loads(self._file("config.json").read_text())

    @cached_property
    def facts(self) -> ModelFacts:
        """Shapes and pre-training, exact sums over the weights' shapes."""
        return ModelFacts(
            self.name,
            self._architecture(),
            nan if self.pretraining_tokens is None else self.pretraining_tokens,
            unique_tokens=self.unique_tokens,
            pretraining_loss=self.pretraining_loss,
            family=self.family,
            is_distilled=self.is_distilled,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, configuration and tokenizer: what makes two draws comparable.

        Of a weights file above 8 MiB the header, the size and both ends are hashed, not every byte.
        """
        state = blake2b(digest_size=16)
        for file in [
            *self._weight_files(),
            self._file("config.json"),
            self._file("tokenizer.json"),
        ]:
            state.update(f"{file.name} {file.stat().st_size} ".encode())
            with open(file, "rb") as stream:
                state.update(stream.read(EDGE_BYTES))
                stream.seek(max(EDGE_BYTES, file.stat().st_size - EDGE_BYTES))
                state.update(stream.read(EDGE_BYTES))
        return state.hexdigest()

    @cached_property
    def stop_token_ids(self) -> Tokens:
        """End-of-sequence tokens of the configuration."""
        ids = self.config.get("eos_token_id")
        return tuple(ids) if isinstance(ids, list) else () if ids is None else (ids,)

    @cached_property
    def max_tokens(self) -> int:
        """Longest sequence that the model was made for."""
        return int(self.config["max_position_embeddings"])

    @cached_property
    def same_shape_as(self) -> str:
        """Equal for two models whose weights can be swapped inside one engine."""
        return json.dumps(self.config, sort_keys=True)

    def encode(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[Tokens]:
        """Token ids of texts.

        Raises UserError when a prompt has words that the model does not know.
        """
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        unknown = self._tokenizer.token_to_id(str(getattr(self._tokenizer.model, "unk_token", "")))
        for text, encoding in zip(texts, encodings, strict=True):
            if unknown is not None and unknown in encoding.ids:
                raise UserError(
                    f"model {self.name} does not know every word of the prompt {text!r}:"
                    " the task and the ladder do not match"
                )
        return [tuple(encoding.ids) for encoding in encodings]

    def prompts(self, problems: Sequence[Problem]) -> list[Tokens]:
        """Token ids that problems are asked with: text with the tokenizer's special tokens, chats through the model's
        chat template.

        Raises UserError for a chat when the model has no template.
        """
        chats = [each.chat for each in problems if each.chat]
        if not chats:
            return self.encode([each.prompt for each in problems], add_special_tokens=True)
        rendered = iter(self.encode([self._render(chat) for chat in chats]))
        texts = [each.prompt for each in problems if not each.chat]
        plain = iter(self.encode(texts, add_special_tokens=True))
        return [next(rendered) if each.chat else next(plain) for each in problems]

    def _render(self, chat: Chat) -> str:
        """A chat as the model's template writes it, up to where the model goes on."""
        if not self._templates.chat_template:
            raise UserError(
                f"model {self.name} has no chat template: ask it in plain text (task.prompt.chat=false)"
            )
        thinking = {} if chat.thinking is None else {"enable_thinking": chat.thinking}
        return self._templates.apply_chat_template(
            [asdict(each) for each in chat.messages],
            tokenize=False,
            add_generation_prompt=True,
            **thinking,
        )

    @cached_property
    def _templates(self) -> Any:
        """transformers' view of the tokenizer, which alone renders every template as its author meant."""
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise UserError(
                f"model {self.name}: chat templates need transformers: pip install transformers"
            ) from None
        return AutoTokenizer.from_pretrained(self.path, trust_remote_code=False)

    def decode(self, tokens: Tokens) -> str:
        """Text of token ids, special tokens left out."""
        return self._decode(tokens)

    @cached_property
    def _decode(self) -> Callable[[Tokens], str]:
        tokenizer = self._tokenizer
        return lru_cache(maxsize=1 << 18)(lambda tokens: tokenizer.decode(list(tokens)))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self._file("tokenizer.json")))

    def _architecture(self) -> Architecture:
        """Counted over the weights themselves, so that any decoder will do."""
        sizes = {name: prod(shape) for name, shape in self._weight_shapes().items()}
        total = sum(sizes.values())
        embedding = sum(size for name, size in sizes.items() if name.endswith(INPUT_EMBEDDINGS))
        unembedding = sum(size for name, size in sizes.items() if name.endswith(OUTPUT_EMBEDDINGS))
        experts = sum(size for name, size in sizes.items() if ROUTED_EXPERTS in name)
        num_experts, chosen = num_experts_of(self.config)
        idle = experts * (num_experts - chosen) // max(num_experts, 1)
        return Architecture(
            num_parameters=total,
            num_active_parameters=total - idle - (embedding if unembedding else 0),
            num_non_embedding_parameters=total - embedding - unembedding,
            num_expert_parameters=experts,
            num_experts=num_experts,
            num_experts_per_token=chosen,
            **attention_shapes(self.config),
        )

    def _weight_shapes(self) -> dict[str, list[int]]:
        shapes = {}
        for file in self._weight_files():
            with open(file, "rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(length))
            shapes |= {n: each["shape"] for n, each in header.items() if n != "__metadata__"}
        return shapes

    def _weight_files(self) -> list[FilePath]:
        files = sorted(FilePath(self.path).glob("*.safetensors"))
        if not files:
            raise UserError(f"model {self.name}: no *.safetensors in {self.path}")
        return files

    def _file(self, name: str) -> FilePath:
        file = FilePath(self.path) / name
        if not file.is_file():
            raise UserError(f"model {self.name}: {file} is missing")
        return file

    def __getstate__(self) -> dict:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
