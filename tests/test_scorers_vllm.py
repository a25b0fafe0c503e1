"""Scorers on vLLM itself: what they say is what transformers computes from the same weights."""

import asyncio
import json
import shutil

import pytest
import yaml
from conftest import ROOT, SHIPPED

from scaling_exp.engines import VLLM
from scaling_exp.models import Model
from scaling_exp.scorers import Labels, Likelihood, Reward
from scaling_exp.types import Sampling, UserError

SETTINGS = yaml.safe_load((ROOT / "conf" / "engine" / "vllm_cpu.yaml").read_text())
CPU = VLLM(**{key: value for key, value in SETTINGS.items() if key != "kind"})
QUESTION, ANSWER = "7 35 12 :", "12 + 35 = 47 + 7 = 54 ,"
MARKED = {"step_end": "[+,]", "mark": " ."}
SHAPE = {
    "vocab_size": 74,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "eos_token_id": 72,
    "pad_token_id": 73,
    "bos_token_id": None,
}

pytestmark = pytest.mark.slow


def beside_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / "4K-4.0M" / name, folder / name)
    return str(folder)


def outcome_model(folder):
    """A random Llama with a head for one score, and what it says of tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**SHAPE, num_labels=1)).eval()
    model.save_pretrained(folder)

    def score(tokens):
        with torch.no_grad():
            return torch.sigmoid(model(torch.tensor([tokens])).logits[0]).tolist()

    return beside_tokenizer(folder), score


def process_model(folder):
    """A random model of Qwen's kind that scores steps, and what it says at the marks."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2Config, Qwen2Model

    torch.manual_seed(0)
    config = Qwen2Config(**SHAPE, tie_word_embeddings=False)
    body = Qwen2Model(config).eval()
    head = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)
    ).eval()
    weights = {f"model.{name}": value for name, value in body.state_dict().items()}
    weights |= {f"score.{name}": value for name, value in head.state_dict().items()}
    weights["lm_head.weight"] = torch.zeros(74, 64)
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors"
    )
    written = {**config.to_dict(), "architectures": ["Qwen2ForProcessRewardModel"]}
    (folder / "config.json").write_text(json.dumps(written))

    def score(tokens):
        with torch.no_grad():
            logits = head(body(torch.tensor([tokens])).last_hidden_state[0])
        at_marks = logits[[at for at, token in enumerate(tokens) if token == 72]]
        return torch.softmax(at_marks, dim=-1)[:, 1].tolist()

    return beside_tokenizer(folder), score


def language_model(path):
    """What a language model makes of tokens: log-probabilities of what could follow each, (T, V)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path).eval()

    def logprobs_TV(tokens):
        with torch.no_grad():
            return torch.log_softmax(model(torch.tensor([tokens])).logits[0], dim=-1)

    return logprobs_TV


def judge(path):
    """What a language model's next token says of two words."""
    follows = language_model(path)
    return lambda tokens: [follows(tokens)[-1, [1, 0]].softmax(dim=0)[0].item()]


def reader(path):
    """How likely a language model finds the answer up to the end of each step."""
    follows = language_model(path)

    def score(tokens):
        begin = len(QUESTION.split())
        told = follows(tokens)[range(begin - 1, len(tokens) - 1), tokens[begin:]]
        ends = [at for at, word in enumerate(ANSWER.split(), start=1) if word in "+,"]
        return [told[:end].mean().exp().item() for end in ends]

    return score


def sure(model, number):
    """How sure a language model is of what it says first, among so many of the likeliest tokens."""
    (prompt,) = model.encode([QUESTION])
    return -language_model(model.path)(prompt)[-1].topk(number).values.mean().item()


async def asked(model, asks, generator):
    """What a model says as a scorer beside an engine that draws in the same process, and how sure that one is."""
    engines = [CPU.start(), CPU.start()]
    try:
        for engine, held in zip(engines, (generator, model), strict=True):
            await engine.hold(held)
        (prompt,) = generator.encode([QUESTION])
        drawn = [engines[0](prompt, Sampling(max_tokens=38), seed) for seed in range(1, 20)]
        told = [engines[0](prompt, greedy(confidence=number), 0) for number in (20, -1)]
        with pytest.raises(UserError, match="which vLLM cannot tell side by side"):
            engines[0](prompt, greedy(labels=(1, 0)), 0)
        scored = [engines[1](ask.prefix, ask.sampling, 0) for ask in asks]
        await asyncio.gather(*drawn)
        return await asyncio.gather(*scored), await asyncio.gather(*told), engines[1].counters
    finally:
        for engine in engines:
            await engine.close()


def greedy(**settings):
    return Sampling(max_tokens=1, temperature=0.0, **settings)


def asks(scorer, score):
    """Thrice what a scorer asks of the answer, with what should be told."""
    return [(ask, score) for ask in scorer.asks(QUESTION, ANSWER) * 3]


def test_scores_are_those_of_transformers(tmp_path):
    folders = [tmp_path / name for name in ("outcome", "process")]
    for folder in folders:
        folder.mkdir()
    outcome, outcome_score = outcome_model(folders[0])
    process, process_score = process_model(folders[1])
    shipped = str(SHIPPED / "29K-4.0M")
    labels = Labels(shipped, good="1", bad="0", step_end="[+,]", scored="steps")
    outcome_head = Reward(outcome, of="answer", num_labels=1, label=0)
    process_head = Reward(process, of="steps", num_labels=2, label=1, **MARKED)
    of_one_model = [
        (
            labels.model,
            *asks(labels, judge(shipped)),
            *asks(Likelihood(shipped, step_end="[+,]"), reader(shipped)),
        ),
        (outcome_head.model, *asks(outcome_head, outcome_score)),
        (process_head.model, *asks(process_head, process_score)),
    ]
    generator = Model("112K", str(SHIPPED / "112K-4.0M"), 4_000_000)
    confidences = [sure(generator, number) for number in (20, SHAPE["vocab_size"])]
    for model, *cases in of_one_model:
        told, confident, counters = asyncio.run(asked(model, [ask for ask, _ in cases], generator))
        for (ask, score), completion in zip(cases, told, strict=True):
            assert ask.scores(completion) == pytest.approx(score(list(ask.prefix)), abs=2e-3)
        assert counters.prompt_tokens == sum(len(ask.prefix) for ask, _ in cases)
        assert [each.scores[1] for each in confident] == pytest.approx(confidences, abs=2e-3)
