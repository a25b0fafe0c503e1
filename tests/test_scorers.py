"""Scorers that are asked for a label: what they read, what a score means, and what is refused."""

import asyncio
from math import exp, log

import pytest
from conftest import SHIPPED
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from scaling_exp.engines.simulated import Simulated
from scaling_exp.generation import Fresh
from scaling_exp.scorers import Labels, Likelihood, Reward, Scoring
from scaling_exp.types import Completion, Sampling, UserError

QUESTION, ANSWER = "7 35 12 :", "12 + 35 = 47 + 7 = 54 , 35 *"


def labels(**settings):
    return Labels(str(SHIPPED / "4K-4.0M"), **{"good": "1", "bad": "0"} | settings)


def read(scorer, answer=ANSWER):
    return [scorer.model.decode(ask.prefix) for ask in scorer.asks(QUESTION, answer)]


def test_a_whole_answer_is_one_question():
    assert read(labels()) == [f"{QUESTION} {ANSWER}"]
    assert read(labels(), "") == [QUESTION]


def test_steps_end_where_they_are_said_to_and_what_is_left_is_one():
    scorer = labels(step_end=r"[+*,.]", scored="steps")
    assert scorer.reading.steps("12 + 35 = 47 ,") == ["12 +", " 35 = 47 ,"]
    assert scorer.reading.steps("12 + 35") == ["12 +", " 35"]
    assert scorer.reading.steps("12 + ") == ["12 +"]
    assert read(scorer) == [f"{QUESTION} {ANSWER[:end]}" for end in (4, 14, 23, len(ANSWER))]
    assert read(labels(step_end=r"[+*,.]")) == [f"{QUESTION} {ANSWER}"]


def test_marks_follow_every_step_and_what_is_between_only_those_before_another():
    scorer = labels(step_end=r"[+]", mark=" =", between=" .", scored="steps")
    assert read(scorer, "1 + 2 + 3") == [
        f"{QUESTION} 1 + =",
        f"{QUESTION} 1 + = . 2 + =",
        f"{QUESTION} 1 + = . 2 + = . 3 =",
    ]


def test_a_question_may_hold_braces():
    scorer = labels(template="{question}{answer}")
    assert scorer.reading.texts("f{x} {answer}", "1") == ["f{x} {answer}1"]


def test_a_score_is_the_share_of_the_good_label():
    scorer = labels()
    assert scorer.sampling == Sampling(max_tokens=1, temperature=0.0, labels=(1, 0))
    told = Completion((5,), "length", scores=(log(0.03), log(0.01)))
    assert scorer.scores(told) == pytest.approx((0.75,))
    assert scorer.scores(Completion((), "stop", scores=(-800.0, -1.0)))[0] < 1e-9


def test_a_scoring_asks_for_all_steps_at_once_and_says_what_it_read():
    asked = []

    async def source(stream, samples):
        asked.append((stream.parent, stream.prefix, tuple(samples)))
        return [Completion((1,), "length", scores=(log(len(asked)), log(1.0)))]

    scorer = labels(step_end=r"[+]", scored="steps")
    scoring = Scoring(scorer, source, "root", QUESTION, scorer.model.decode)
    (answer,) = scorer.model.encode(["1 + 2 + 3"])
    score = asyncio.run(scoring(answer))
    assert score.steps == pytest.approx((1 / 2, 2 / 3, 3 / 4))
    assert score.num_tokens == len(asked[-1][1]) == 9
    assert {(parent, samples) for parent, _, samples in asked} == {((), (0,))}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "{question}"}, "must hold {answer} once"),
        ({"scored": "steps"}, "say where a step ends"),
        ({"good": "0", "bad": "0"}, "must differ"),
        ({"step_end": "["}, "scorer.step_end is '\\['"),
    ],
)
def test_what_cannot_be_asked_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        labels(**settings)


def test_a_label_is_one_token():
    with pytest.raises(UserError, match="'1 1' is 2 tokens"):
        _ = labels(good="1 1").sampling


def test_a_reward_model_reads_once_and_scores_every_mark():
    process = Reward(
        str(SHIPPED / "4K-4.0M"),
        of="steps",
        num_labels=2,
        label=1,
        step_end=r"[+]",
        mark=" =",
        between=" .",
    )
    assert read(process, "1 + 2 +") == [f"{QUESTION} 1 + = . 2 + ="]
    assert process.sampling == Sampling(
        max_tokens=1, temperature=0.0, labels=(69,), pooling="token_classify"
    )
    told = Completion((), "stop", scores=(0.9, 0.1, 0.3, 0.7))
    assert process.scores(told) == (0.1, 0.7)
    outcome = Reward(str(SHIPPED / "4K-4.0M"), of="answer", num_labels=1, label=0)
    assert outcome.sampling.pooling == "classify"
    assert outcome.scores(Completion((), "stop", scores=(0.8,))) == (0.8,)
    assert outcome.scores(Completion((), "length")) == (0.0,)
    assert process.identity != outcome.identity
    for each, numbers in ((process, (0.9, 0.1, 0.3)), (outcome, (0.8, 0.2))):
        with pytest.raises(UserError, match=r"scorer\.num_labels is \d and .* gives \d numbers"):
            each.scores(Completion((), "stop", scores=numbers))
    with pytest.raises(ValueError, match=r"below scorer\.num_labels"):
        Reward("anywhere", of="answer", num_labels=1, label=1)
    with pytest.raises(ValueError, match="say where a step ends"):
        Reward("anywhere", of="steps", num_labels=2, label=1)


def test_what_a_model_said_may_hold_any_word():
    (ask,) = labels().asks(QUESTION, "12 + <unk> what")
    assert ask.prefix[-2:] == (73, 73)


def likelihood(**settings):
    return Likelihood(str(SHIPPED / "4K-4.0M"), **{"step_end": r"[+]"} | settings)


def scored_by(scorer, answer, likelihoods):
    """What a scorer says of an answer whose engine tells these log-probabilities of what it reads."""

    async def scoring():
        respond = lambda _prefix, _seed: (1,)  # noqa: E731
        engine = Simulated(1, 0.01, 0.0, respond, likelihoods=likelihoods).start()
        (tokens,) = scorer.model.encode([answer])
        score = Scoring(scorer, Fresh(engine), "root", QUESTION, scorer.model.decode)
        said = await score(tokens)
        await engine.close()
        return said, engine.counters

    return asyncio.run(scoring())


def by_place(prefix):
    return tuple(-0.1 * at for at in range(len(prefix)))


def test_a_likelihood_is_of_the_tokens_of_the_answer_up_to_the_end_of_each_step():
    """The question has 4 tokens, and the answer's two steps 2 and 3."""
    said, counters = scored_by(likelihood(), "1 + 2 + 3", by_place)
    assert said.steps == pytest.approx((exp(-0.45), exp(-0.55), exp(-0.6)))
    assert said.num_tokens == counters.prompt_tokens == 9
    assert counters.num_requests == 1
    said, _ = scored_by(likelihood(of="sum"), "1 + 2 + 3", by_place)
    assert said.steps == pytest.approx((exp(-0.9), exp(-2.2), exp(-3.0)))


def test_likelihoods_are_probabilities_and_never_fail():
    for logprob, score in ((0.0, 1.0), (-1000.0, 0.0)):
        said, _ = scored_by(likelihood(), "1 + 2 + 3", lambda prefix: (logprob,) * len(prefix))  # noqa: B023
        assert said.steps == (score,) * 3
    said, _ = scored_by(likelihood(), "", by_place)
    assert said == ((0.0,), 4)


def test_what_decides_a_likelihood_is_its_identity():
    kinds = [likelihood(), likelihood(of="sum"), likelihood(step_end=""), labels(step_end=r"[+]")]
    assert len({repr(kind.identity) for kind in kinds}) == len(kinds)


def test_a_token_that_reaches_over_the_end_of_a_step_is_part_of_it(tmp_path):
    """The tokenizer is the scorer's own, begins every text with a token, and makes one token of `,b`."""
    vocabulary = {token: at for at, token in enumerate(("<s>", "a", "b", ",", ",b"))}
    tokenizer = Tokenizer(BPE(vocabulary, [(",", "b")]))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    scorer = Likelihood(str(tmp_path), template="{question}{answer}", step_end=",")
    ((prefix, sampling, scores),) = scorer.asks("ab", "a,ba")
    assert prefix == (0, 1, 2, 1, 4, 1)
    assert sampling == Sampling(max_tokens=1, temperature=0.0, scored_from=3)
    told = scores(Completion((0,), "length", scores=(-1.0, -3.0, -5.0)))
    assert told == pytest.approx((exp(-2), exp(-3)))
    assert scores(Completion((), "length")) == (0.0,)


def test_nothing_follows_the_answer_that_a_likelihood_is_of():
    with pytest.raises(ValueError, match=r"nothing follows \{answer\}"):
        likelihood(template="{question} {answer} .")
    with pytest.raises(ValueError, match=r"sampling\.scored_from is 0"):
        Sampling(max_tokens=1, scored_from=0)
