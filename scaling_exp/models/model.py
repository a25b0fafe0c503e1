"""A model in Hugging Face's format, a folder or on the Hub: its shapes, its fingerprint and its tokenizer.

Reads `config.json`, safetensors headers and `tokenizer.json` only, so it needs neither torch nor transformers; but for
chat templates, and for tokenizers of an older form.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from hashlib import blake2b
from math import nan, prod
from pathlib import Path as FilePath
from typing import Any

from tokenizers import Tokenizer

from scaling_exp.hub import HUB_ID
from scaling_exp.models.architecture import (
    FAMILIES,
    Family,
    architecture_of,
    attention_shapes,
    num_experts_of,
)
from scaling_exp.models.hub import (
    Snapshot,
    describe,
    is_pickle,
    sizes_in,
    take_weights,
    weight_names,
)
from scaling_exp.models.precision import (
    bytes_per_parameter,
    plain_name,
    quantization_of,
    stored_dtype,
    stored_quantization,
)
from scaling_exp.types import Architecture, Chat, ModelFacts, Problem, Tokens, UserError

INPUT_EMBEDDINGS = ("embed_tokens.weight", "embed_in.weight", "wte.weight")
OUTPUT_EMBEDDINGS = ("lm_head.weight", "embed_out.weight")
ROUTED_EXPERTS = ".experts."
EDGE_BYTES = 1 << 22
TOKENIZERS = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt")
"""Older forms of a tokenizer.json."""
LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len")
MAX_TOKENS: Mapping[str, int] = {"gemma3_text": 131072}
"""Lengths that the config.json of a model type leaves out."""
THINKING = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""Tokens around a model's thinking: Qwen, DeepSeek and many others; Mistral; ByteDance; Cohere."""
NO_SHAPES = ("_name_or_path", "transformers_version")
"""Keys of a config.json that say nothing of the weights."""


@dataclass(frozen=True)
class Model:
    """One model to draw from: a name for plots, where its weights are, and what its pre-training consumed.

    `path` is a folder, or an id of the Hugging Face Hub, taken at `revision`. `dtype` and `quantization` are vLLM's,
    and None leaves them to the engine. `max_model_len` is the longest sequence that its engine takes, None where that
    is what the model was made for. `pretraining_tokens` None when D is not known: it then takes part in no trade.
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
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        if self.pretraining_tokens is not None and self.pretraining_tokens < 1:
            raise UserError(
                f"pretraining_tokens of model {self.name} is {self.pretraining_tokens}; give D > 0, or null"
                " when it is not known"
            )

    @property
    def is_on_hub(self) -> bool:
        """A folder of that name goes first."""
        return not FilePath(self.path).is_dir() and HUB_ID.fullmatch(self.path) is not None

    @property
    def folder(self) -> FilePath:
        """Where the files are that describe it. Of a model on the Hub they are taken when they are first asked for."""
        return self._snapshot.folder if self.is_on_hub else FilePath(self.path)

    @property
    def pinned(self) -> Model:
        """The same at the commit that its revision is now, so that whoever loads it later loads the same."""
        return replace(self, revision=self._snapshot.commit) if self.is_on_hub else self

    @property
    def source(self) -> str:
        """Folder, or id and commit on the Hub."""
        return f"{self.path}@{self._snapshot.commit}" if self.is_on_hub else self.path

    def take_weights(self, accept_code: bool = False) -> FilePath:
        """A folder with weights and all. Of a model on the Hub they are taken now, unless they are in the cache."""
        if not self.is_on_hub:
            return self.folder
        return take_weights(self.path, self._snapshot, accept_code)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The config.json; of a model of several towers, with what it says of the text tower on top.

        Raises UserError when it is missing.
        """
        written = self._json("config.json")
        text = {
            key: value for key, value in written.get("text_config", {}).items() if value is not None
        }
        config = {**written, **text}
        kind = FAMILIES.get(str(config.get("model_type")), Family())
        return {**kind.defaults, **config}

    @cached_property
    def facts(self) -> ModelFacts:
        """Shapes, precision and pre-training."""
        shape, quantization = self._architecture(), quantization_of(self.config, self.quantization)
        return ModelFacts(
            self.name,
            shape,
            nan if self.pretraining_tokens is None else self.pretraining_tokens,
            unique_tokens=self.unique_tokens,
            pretraining_loss=self.pretraining_loss,
            family=self.family,
            is_distilled=self.is_distilled,
            source=self.source,
            dtype=self.dtype,
            quantization=stored_quantization(self.config) or self.quantization,
            bytes_per_parameter=None
            if quantization is None
            else bytes_per_parameter(quantization, shape, self._num_quantized_bytes),
            arithmetic=None if quantization is None else quantization.arithmetic,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, configuration and tokenizer, and of what an engine changes of them: what makes two draws
        comparable.

        On the Hub a commit names them all. Of a weights file above 8 MiB the header, the size and both ends are hashed,
        not every byte.
        """
        state = blake2b(digest_size=16)
        if self.is_on_hub:
            state.update(f"commit {self._snapshot.commit} ".encode())
        else:
            names = [*self.weight_names, "config.json", *self._tokenizer_names]
            for file in map(self._file, names):
                _update(state, file)
        if self._differences:
            state.update(json.dumps(self._differences, sort_keys=True).encode())
        return state.hexdigest()

    @cached_property
    def stop_token_ids(self) -> Tokens:
        """End-of-sequence tokens: of the configuration, of that for generation, which often has a chat model's end of
        turn, and of the tokenizer."""
        generation = self._json("generation_config.json", is_needed=False)
        found = [*_ids(self.config), *_ids(generation), *self._eos_of_tokenizer()]
        return tuple(dict.fromkeys(found))

    @cached_property
    def max_tokens(self) -> int:
        """Longest sequence that the model was made for, and its engine takes."""
        made_for = self._made_for_tokens()
        return made_for if self.max_model_len is None else min(made_for, self.max_model_len)

    def _made_for_tokens(self) -> int:
        for length in map(self.config.get, LENGTHS):
            if length:
                return int(length)
        if self.config.get("model_type") in MAX_TOKENS:
            return MAX_TOKENS[self.config["model_type"]]
        raise UserError(f"model {self.name}: config.json lacks {LENGTHS[0]}")

    @cached_property
    def thinking_tokens(self) -> tuple[int, int] | None:
        """The token that begins its thinking and the one that ends it; None for a model that has none such."""
        for marks in THINKING:
            start, end = map(self.tokenizer.token_to_id, marks)
            if start is not None and end is not None:
                return start, end
        return None

    @cached_property
    def same_shape_as(self) -> str:
        """Equal for two models whose weights can be swapped inside one engine."""
        shapes = {key: value for key, value in self.config.items() if key not in NO_SHAPES}
        held = [shapes, self.dtype, self.quantization, self.stop_token_ids]
        return json.dumps(held, sort_keys=True)

    @cached_property
    def least_bytes(self) -> float:
        """What the weights take at least: 16 bits each where nothing else is known."""
        shape, mean = self.facts.architecture, self.facts.bytes_per_parameter
        if self.facts.quantization is not None:
            return mean * shape.num_parameters if mean is not None else 0
        return (4 if self.dtype == "float32" else 2) * shape.num_parameters

    @property
    def weight_names(self) -> list[str]:
        """Files that hold the weights, as far as is known. Raises UserError for a folder without any."""
        names = weight_names(self._sizes)
        if not names and not self.is_on_hub:
            raise UserError(f"model {self.name}: no *.safetensors in {self.path}")
        return names

    @property
    def code_it_brings(self) -> list[str]:
        """Classes of its own that it wants to have run, with the file that names each."""
        return [
            f"{value} ({name})"
            for name in ("config.json", "tokenizer_config.json")
            for value in _named(self._json(name, is_needed=name == "config.json").get("auto_map"))
        ]

    def encode(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[Tokens]:
        """Token ids of texts.

        Raises UserError when a prompt has words that the model does not know.
        """
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        encoded = [tuple(encoding.ids) for encoding in encodings]
        unknown = self.tokenizer.token_to_id(str(getattr(self.tokenizer.model, "unk_token", "")))
        for text, tokens in zip(texts, encoded, strict=True):
            if unknown is not None and unknown in tokens:
                raise UserError(
                    f"model {self.name} does not know every word of the prompt {text!r}:"
                    " the task and the ladder do not match"
                )
        return encoded

    def encode_said(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[Tokens]:
        """Token ids of what a model said, which may hold words that this one does not know.

        The last ones are remembered: the steps of an answer are read again with every step that follows.
        """
        return [self._encode_said(text, add_special_tokens) for text in texts]

    @cached_property
    def _encode_said(self) -> Callable[[str, bool], Tokens]:
        tokenizer = self.tokenizer
        return lru_cache(maxsize=1 << 12)(
            lambda text, special: tuple(tokenizer.encode(text, add_special_tokens=special).ids)
        )

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
                f"model {self.name}: chat templates and tokenizers without a tokenizer.json need transformers:"
                " pip install transformers"
            ) from None
        return AutoTokenizer.from_pretrained(str(self.folder), trust_remote_code=False)

    def decode(self, tokens: Tokens) -> str:
        """Text of token ids, special tokens left out."""
        return self._decode(tokens)

    @cached_property
    def _decode(self) -> Callable[[Tokens], str]:
        tokenizer = self.tokenizer
        return lru_cache(maxsize=1 << 18)(lambda tokens: tokenizer.decode(list(tokens)))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What texts and token ids are made of each other with. Raises UserError where there is none."""
        if self._tokenizer_names == ["tokenizer.json"]:
            return Tokenizer.from_file(str(self._file("tokenizer.json")))
        try:
            return self._templates.backend_tokenizer
        except (ValueError, OSError, ImportError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"model {self.name} has no tokenizer.json, and none can be made of {', '.join(self._tokenizer_names)}"
                f" ({reason}): pip install sentencepiece protobuf, or put a tokenizer.json there"
            ) from error

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Token ids of its words, without those that were added for special ends."""
        return self.tokenizer.get_vocab(with_added_tokens=False)

    @property
    def _tokenizer_names(self) -> list[str]:
        """The tokenizer.json, or the files of an older form."""
        if "tokenizer.json" in self._sizes:
            return ["tokenizer.json"]
        return [name for name in TOKENIZERS if name in self._sizes] or ["tokenizer.json"]

    def _eos_of_tokenizer(self) -> list[int]:
        eos = self._json("tokenizer_config.json", is_needed=False).get("eos_token")
        content = eos.get("content") if isinstance(eos, dict) else eos
        found = None if content is None else self.tokenizer.token_to_id(str(content))
        return [] if found is None else [found]

    @cached_property
    def _differences(self) -> dict[str, object]:
        """What an engine makes of the model that its weights, config.json and tokenizer do not say."""
        told: dict[str, object] = {}
        if self.dtype is not None and plain_name(self.dtype) != stored_dtype(self.config):
            told["dtype"] = plain_name(self.dtype)
        if self.quantization is not None and stored_quantization(self.config) is None:
            told["quantization"] = self.quantization
        if not set(self.stop_token_ids) <= set(_ids(self.config)):
            told["stop_token_ids"] = sorted(self.stop_token_ids)
        return told

    def _architecture(self) -> Architecture:
        """From the configuration where weights are elsewhere, packed, or of other towers too; else from weights."""
        files = [self.folder / name for name in self.weight_names if not is_pickle(name)]
        are_here = bool(files) and all(each.is_file() for each in files)
        is_packed = stored_quantization(self.config) is not None
        if are_here and not (self.is_on_hub or is_packed or "text_config" in self.config):
            return self._counted(files)
        try:
            return architecture_of(self.config)
        except UserError as error:
            if are_here and not is_packed:
                return self._counted(files)
            remedy = (
                f"; else run `hf download {self.path}` on this machine" if self.is_on_hub else ""
            )
            raise UserError(f"model {self.name}: {error}{remedy}") from None

    def _counted(self, files: Sequence[FilePath]) -> Architecture:
        """Counted over the weights themselves, so that any decoder will do."""
        sizes = {name: prod(shape) for name, shape in _weight_shapes(files).items()}
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

    @property
    def _num_quantized_bytes(self) -> int | None:
        """Size of weights that were quantised before they were saved; None for others, and where it is not known."""
        if stored_quantization(self.config) is None:
            return None
        return sum(self._sizes[name] for name in self.weight_names) or None

    @cached_property
    def _snapshot(self) -> Snapshot:
        return describe(self.path, self.revision)

    @property
    def _sizes(self) -> Mapping[str, int]:
        """Bytes of its files, by name."""
        return self._snapshot.sizes if self.is_on_hub else self._sizes_of_folder

    @cached_property
    def _sizes_of_folder(self) -> Mapping[str, int]:
        if not self.folder.is_dir():
            raise UserError(
                f"model {self.name}: {self.path} is no folder here, and no id of the Hub (owner/name)"
            )
        return sizes_in(self.folder)

    def _json(self, name: str, is_needed: bool = True) -> dict[str, Any]:
        """Empty for a file that is neither needed nor there."""
        if not is_needed and not (self.folder / name).is_file():
            return {}
        return json.loads(self._file(name).read_text(encoding="utf-8"))

    def _file(self, name: str) -> FilePath:
        file = self.folder / name
        if not file.is_file():
            raise UserError(f"model {self.name}: {file} is missing")
        return file

    def __getstate__(self) -> dict:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)


def _update(state: blake2b, file: FilePath) -> None:
    """Name, size and both ends of a file."""
    size = file.stat().st_size
    state.update(f"{file.name} {size} ".encode())
    with open(file, "rb") as stream:
        state.update(stream.read(EDGE_BYTES))
        stream.seek(max(EDGE_BYTES, size - EDGE_BYTES))
        state.update(stream.read(EDGE_BYTES))


def _weight_shapes(files: Sequence[FilePath]) -> dict[str, list[int]]:
    shapes = {}
    for file in files:
        with open(file, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        shapes |= {n: each["shape"] for n, each in header.items() if n != "__metadata__"}
    return shapes


def _ids(config: Mapping[str, Any]) -> list[int]:
    """Its end-of-sequence tokens: one, several or none."""
    ids = config.get("eos_token_id")
    return list(ids) if isinstance(ids, list) else [] if ids is None else [ids]


def _named(auto_map: object) -> list[str]:
    """The classes of an auto_map: texts, lists of texts, and None where there is no such class."""
    if isinstance(auto_map, dict):
        return [name for value in auto_map.values() for name in _named(value)]
    if isinstance(auto_map, list):
        return [name for value in auto_map for name in _named(value)]
    return [auto_map] if isinstance(auto_map, str) else []
