"""Verdict: the answer to the question, as a dictionary for verdict.json and as two sentences.

The headline is one pair of models under a vote that a user could run; the oracle stands beside it,
never alone. A bound that the resamples do not support is not printed: the sentence then says that
the data cannot tell.

It knows nothing of prices or seconds, and of no model outside the ladder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.curves import greedy_accuracy
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.sensitivity import Scenario
from scaling_exp.analysis.tradeoff import ExchangeRate, Match
from scaling_exp.analysis.words import CANNOT_TELL, estimate_numbers, short
from scaling_exp.types import ModelFacts

QUESTION = (
    "For the next unit of compute, is it better to pre-train a bigger model or to let a smaller "
    "one think longer?"
)
SELECTOR_WORDS = {
    "voting": "By majority voting",
    "best_of": "By the best score",
    "best_of_min": "By the best of the least scores of a step",
    "best_of_product": "By the best product of the scores of steps",
    "best_of_mean": "By the best mean of the scores of steps",
    "weighted_voting": "By voting weighted with scores",
    "oracle": "With an oracle selector, which no user has",
}
MIN_PROBLEMS = 10
"""With fewer problems a bootstrap interval is far too narrow, so no conclusion is drawn."""


@dataclass(frozen=True)
class Evidence:
    """What the analysis found; `strategy` is the exchangeable strategy it was read from, None if
    there is none. `num_problems` is None where only points are known."""

    confidence: float
    num_problems: int | None
    num_bootstrap: int
    strategy: str | None
    num_samples: int
    models: tuple[ModelFacts, ...]
    matches: Mapping[str, Sequence[Match]]
    exchange_rates: Mapping[str, ExchangeRate | None]
    lifetimes: pd.DataFrame
    curves: pd.DataFrame
    scenarios: Sequence[Scenario]
    unpriced: Sequence[ModelFacts] = ()
    """Models whose pre-training compute is not known."""


def conclude(evidence: Evidence) -> tuple[dict[str, object], tuple[str, ...]]:
    """The verdict, ready for JSON (infinity is "inf", what is missing is None), and its
    sentences."""
    voting = headline(evidence.matches["voting"], evidence.confidence)
    oracle = _match_of("oracle", voting, evidence)
    sentences = (*_sentences(voting, oracle, evidence), *_flip_sentences(evidence.scenarios))
    pairs: dict[str, Match | None] = {
        name: voting if name == "voting" else _match_of(name, voting, evidence)
        for name in evidence.matches
    }
    verdict = {
        "question": QUESTION,
        "confidence": evidence.confidence,
        "num_problems": evidence.num_problems,
        "num_bootstrap": evidence.num_bootstrap,
        "strategy": evidence.strategy,
        "num_samples": evidence.num_samples,
        "selectors": {s: _selector_verdict(s, pair, evidence) for s, pair in pairs.items()},
        "sensitivity": [_scenario_json(each) for each in evidence.scenarios],
        "assumptions": _assumptions(evidence),
        "sentences": list(sentences),
    }
    return verdict, sentences


def headline(matches: Sequence[Match], confidence: float) -> Match | None:
    """The pair to speak of: the largest model that a smaller one reaches, and the smallest model
    that reaches it.

    Pairs whose number of samples has a finite upper bound come first; a pair that reaches its
    target only in some resamples is spoken of where there is no other. A target of zero is no
    target.
    """
    reached = [m for m in matches if m.is_reached and m.accuracy_target.value > 0]
    surely = [m for m in reached if 1 - m.share_reached < (1 - confidence) / 2]
    return min(
        surely or reached,
        key=lambda m: (-m.larger.pretraining_flops, m.smaller.pretraining_flops),
        default=None,
    )


def _match_of(selector: str, voting: Match | None, evidence: Evidence) -> Match | None:
    """A selector's match of the pair that voting speaks of; its own headline where voting has none."""
    if voting is None:
        return headline(evidence.matches[selector], evidence.confidence)
    pair = (voting.smaller, voting.larger)
    found = (m for m in evidence.matches[selector] if (m.smaller, m.larger) == pair)
    return next(found, None)


def _selector_verdict(selector: str, pair: Match | None, evidence: Evidence) -> dict[str, object]:
    rate = evidence.exchange_rates[selector]
    return {
        "exchange_rate": None if rate is None else _rate_json(rate),
        "headline": None if pair is None else _match_json(pair),
        "frontier": [
            _frontier_json(selector, num_queries, pair, evidence.lifetimes)
            for num_queries in evidence.lifetimes["num_queries"].unique()
        ],
    }


def _rate_json(rate: ExchangeRate) -> dict[str, object]:
    """`value` is the factor of pre-training compute that ten times the inference compute
    replaces."""
    return {
        **estimate_numbers(rate.factor),
        "slope": estimate_numbers(rate.slope),
        "share_defined": rate.share_defined,
        "pretraining_span": rate.pretraining_span,
        "num_accuracy_levels": rate.num_levels,
        "num_models": rate.num_models,
    }


def _match_json(pair: Match) -> dict[str, object]:
    share = {"share_reached": pair.share_reached}
    return {
        "smaller": _model_json(pair.smaller),
        "larger": _model_json(pair.larger),
        "accuracy_target": estimate_numbers(pair.accuracy_target),
        "k_match": estimate_numbers(pair.k_match) | share,
        "inference_ratio": estimate_numbers(pair.inference_ratio) | share,
        "pretraining_ratio": pair.pretraining_ratio,
        "crossover_queries": estimate_numbers(pair.crossover_queries) | share,
    }


def _frontier_json(
    selector: str, num_queries: float, pair: Match | None, lifetimes: pd.DataFrame
) -> dict[str, object]:
    """The points that nothing beats at this number of queries, cheapest first, and how sure the
    pair's winner is."""
    is_oracle = (lifetimes["selector"] == "oracle").to_numpy(bool)
    in_family = is_oracle if selector == "oracle" else ~is_oracle
    is_at = (lifetimes["num_queries"] == num_queries).to_numpy(bool)
    is_best = is_at & in_family & lifetimes["on_frontier"].to_numpy(bool)
    columns = ["model", "strategy", "selector", "k", "accuracy", "total_flops"]
    best = lifetimes.loc[is_best, columns].sort_values(by="total_flops")
    share = None if pair is None else float(np.mean(pair.crossover_R[1:] > num_queries))
    return {
        "num_queries": float(num_queries),
        "points": [dict(zip(columns, row, strict=True)) for row in best.to_numpy(object).tolist()],
        "share_smaller_is_cheaper": share,
    }


def _scenario_json(scenario: Scenario) -> dict[str, object]:
    changed = scenario.match
    return {
        "assumption": scenario.assumption,
        "change": scenario.change,
        "k_match": estimate_numbers(changed.k_match) | {"share_reached": changed.share_reached},
        "inference_ratio": estimate_numbers(changed.inference_ratio),
        "crossover_queries": estimate_numbers(changed.crossover_queries),
        "verdict": _scenario_words(changed),
        "flips": bool(scenario.flips_at),
        "flips_at": list(scenario.flips_at),
    }


def _scenario_words(changed: Match) -> str:
    """What a match comes to, in half a sentence."""
    if not changed.is_reached:
        return "the smaller model does not reach it with the samples drawn"
    k, star = changed.k_match, changed.crossover_queries.value
    samples = f"{k.value:.3g} {_plural(k.value, 'sample')} ({_range(k)})"
    if math.isnan(star):
        return samples
    until = "at any number of queries" if math.isinf(star) else f"up to {_long(star)} queries"
    return f"{samples}, cheaper {until}" if star > 0 else f"{samples}, never cheaper"


def _flip_sentences(scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """Which other assumptions would make it the other way round; nothing where there is no pair to speak of."""
    if not scenarios:
        return ()
    flipped = [each for each in scenarios if each.flips_at]
    if not flipped:
        return (
            f"None of the {len(scenarios)} assumptions that were varied changes which of the two is the cheaper at the"
            " lifetimes priced.",
        )
    said = "; ".join(
        f"if {each.change} (at {' and '.join(_long(number) for number in each.flips_at)} queries:"
        f" {_scenario_words(each.match)})"
        for each in flipped
    )
    return (f"The cheaper of the two would be the other one {said}.",)


def _model_json(facts: ModelFacts) -> dict[str, object]:
    return {
        "name": facts.name,
        "num_parameters": facts.architecture.num_parameters,
        "pretraining_tokens": facts.pretraining_tokens,
        "pretraining_flops": facts.pretraining_flops,
    }


def _assumptions(evidence: Evidence) -> list[str]:
    assumptions = [
        *_greedy_assumption(evidence),
        "Pre-training compute is 6ND with N the total number of parameters; it is taken as exact.",
        "Inference compute counts every sample drawn: 2 FLOPs per active weight and token, exact "
        "causal attention, "
        "the prompt read once per query, no cost for the selector. FLOPs are not seconds.",
        "Voting is a plurality with uniform tie-breaking in which unparsable answers abstain; the "
        "oracle accepts a "
        "right answer wherever there is one, which no user can do without knowing it.",
        "All of it holds for this task and these problems; intervals cover the choice of problems "
        "and of samples, "
        "not other training runs of the same models, nor the choice of the headline pair.",
        f"Nothing is extrapolated beyond the {evidence.num_samples} samples drawn per problem.",
        '"Smaller" and "larger" are by pre-training compute, and every model is taken as it is: a '
        "ladder that is not "
        "compute-optimal, or a checkpoint whose learning rate had not decayed, understates what "
        "pre-training buys.",
        "The exchange rate is read only where models reach the same accuracy. With few problems it is biased upward, "
        "and its 95 % interval held the truth in as few as 78 % of simulated experiments of 50 problems x 16 samples; "
        "the gains at equal cost per query are the steadier figure.",
        "Near accuracies of 0 and 1 with about 50 problems, intervals are too short: 89 % for pass@64 near 0.91.",
    ]
    sizes = Counter(m.architecture.num_parameters for m in evidence.models)
    if max(sizes.values(), default=0) > 1:
        assumptions.append(
            "Several models have the same size and differ in training tokens; unless each had its "
            "own learning-rate "
            "schedule, the earlier ones are un-annealed checkpoints."
        )
    if distilled := [m.name for m in evidence.models if m.is_distilled]:
        assumptions.append(
            f"{_names(distilled)} learned from a larger model: 6ND leaves out what that one took, so a trade makes such"
            " a model look too cheap to train."
        )
    if evidence.unpriced:
        assumptions.append(f"{_upper(_unpriced_words(evidence.unpriced))}: no trade there.")
    return assumptions


def _unpriced_words(models: Sequence[ModelFacts]) -> str:
    """Of which models what is not known."""
    without_data = [m.name for m in models if math.isnan(m.pretraining_tokens)]
    without_size = [m.name for m in models if not math.isnan(m.pretraining_tokens)]
    told = (
        ("on how many tokens (D)", without_data, "trained"),
        ("how large (N)", without_size, ""),
    )
    return " and ".join(
        f"{what} {_names(names)} {_plural(len(names), 'was', 'were')} {how}".rstrip()
        + " is not known"
        for what, names, how in told
        if names
    )


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _greedy_assumption(evidence: Evidence) -> list[str]:
    """What one greedy answer reaches: the reader must see it beside the single sample that matches are made with."""
    known = [(m.name, greedy_accuracy(m.name, evidence.curves)) for m in evidence.models]
    each = "; ".join(f"{name} {_percent(value)}" for name, value in known if not math.isnan(value))
    if not each:
        return []
    return [
        "A larger model's single attempt is one sample at the strategy's temperature. Greedy decoding costs the same"
        f" and reaches: {each}. Against greedy, smaller models need more samples."
    ]


def _gains(curves: pd.DataFrame) -> list[str]:
    """What more samples do for the model that they help most, by selector: said where there is no trade to tell."""
    every = curves.loc[(curves["level"] == "all").to_numpy(bool)]
    num_ks = every.groupby(["model", "strategy", "selector"])["k"].transform("nunique")
    curved = every.loc[
        (num_ks > 1).to_numpy(bool)
    ]  # a search is one point, which more samples do nothing for
    sentences = []
    for selector, words in SELECTOR_WORDS.items():
        own = curved.loc[(curved["selector"] == selector).to_numpy(bool)]
        if own.empty:
            continue
        ends = (
            own.sort_values("k").groupby(["model", "strategy"])["accuracy"].agg(["first", "last"])
        )
        model, strategy = (ends["last"] - ends["first"]).idxmax()
        best = own.loc[((own["model"] == model) & (own["strategy"] == strategy)).to_numpy(bool)]
        first, last = (best.sort_values("k").iloc[at] for at in (0, -1))
        sentences.append(
            f"{words}, {model} goes from {_percent(first['accuracy'])} with {_count(first['k'])} to"
            f" {_percent(last['accuracy'])} ({_percent(last['accuracy_low'])} to"
            f" {_percent(last['accuracy_high'])}) with {_count(last['k'])}."
        )
    return sentences


def _count(k: float) -> str:
    return f"{k:.3g} {_plural(k, 'sample')}"


def _sentences(voting: Match | None, oracle: Match | None, evidence: Evidence) -> tuple[str, ...]:
    if evidence.num_problems is not None and evidence.num_problems < MIN_PROBLEMS:
        return (
            f"With {evidence.num_problems} problems {CANNOT_TELL} whether inference replaces "
            "pre-training.",
            f"Run at least {MIN_PROBLEMS} problems, better some hundreds.",
        )
    if len(evidence.models) < 2 and evidence.unpriced:
        return (
            f"Whether inference replaces pre-training {CANNOT_TELL}: {_unpriced_words(evidence.unpriced)}, and a trade"
            " needs two models of known pre-training compute.",
            "Give what is missing (pretraining_tokens, num_parameters) where the models are listed.",
            *_gains(evidence.curves),
        )
    if not any(evidence.matches.values()):
        return (
            f"Whether inference replaces pre-training {CANNOT_TELL}: a trade needs two models of "
            "different "
            "pre-training compute, each with several samples per problem.",
            "Add a model or a strategy that draws the same number of samples for every problem.",
            *_gains(evidence.curves),
        )
    if not evidence.matches["voting"]:
        return (
            f"Whether a vote replaces pre-training {CANNOT_TELL}: only right and wrong are known, not the answers.",
            f"{_upper(_oracle_words(None, oracle, evidence))}, which no user can have.",
        )
    rate = f"across the ladder {_rate_words(evidence.exchange_rates['voting'])}"
    beside = (
        _oracle_words(voting, oracle, evidence)
        if evidence.matches["oracle"]
        else "with an oracle selector nothing was measured"
    )
    if voting is None:
        return (
            _not_reached(evidence),
            "No number of queries can be given up to which a smaller model is the cheaper choice; "
            f"{rate}; {beside}.",
        )
    return (
        _match_sentence(voting, evidence),
        f"{_crossover_words(voting.crossover_queries, evidence.confidence)}; {rate}; {beside}.",
    )


def _not_reached(evidence: Evidence) -> str:
    shares = [m.share_reached for m in evidence.matches["voting"] if m.accuracy_target.high > 0]
    said = (
        f"With majority voting over up to {evidence.num_samples} samples, no model of the ladder "
        "reaches the accuracy "
        "that a larger one has with a single sample"
    )
    most = max(shares, default=0.0)
    if most < (1 - evidence.confidence) / 2:
        return f"{said}: as far as was measured, voting replaces no pre-training."
    return (
        f"{said}, but one does in {_share(most)} of the resamples: {CANNOT_TELL} whether voting "
        "replaces pre-training."
    )


def _match_sentence(pair: Match, evidence: Evidence) -> str:
    smaller, larger = (
        _model_words(pair.smaller, pair.larger),
        _model_words(pair.larger, pair.smaller),
    )
    target = f"one sample of {larger} (accuracy {_percent(pair.accuracy_target.value)})"
    k, ratio = pair.k_match, pair.inference_ratio
    if not math.isfinite(k.high):
        return (
            f"With majority voting, {CANNOT_TELL} how many samples {smaller} needs to match "
            f"{target}: the estimate is "
            f"{k.value:.3g}, but only {_share(pair.share_reached)} of the resamples reach it "
            "within the "
            f"{evidence.num_samples} samples drawn."
        )
    return (
        f"With majority voting, {smaller} needs {k.value:.3g} {_plural(k.value, 'sample')} "
        f"({_percent(evidence.confidence)} interval {_range(k)}) to match {target}: "
        f"{short(pair.pretraining_ratio)} "
        f"times less pre-training compute for {_ratio_words(ratio)}."
    )


def _ratio_words(ratio: Estimate) -> str:
    if math.isnan(ratio.low):
        return "inference compute that is not known, since nobody counted the tokens"
    return f"{short(ratio.value)} times ({_range(ratio)}) the inference compute per query"


def _crossover_words(crossover: Estimate, confidence: float) -> str:
    low, high = crossover.low, crossover.high
    if math.isnan(low) or (low <= 0 and math.isinf(high)):
        return f"Up to how many queries it is the cheaper choice, {CANNOT_TELL}"
    if math.isinf(low):
        return "It is the cheaper choice however many queries are served"
    if low <= 0:
        return (
            f"It is the cheaper choice up to {_long(high)} queries at most, and {CANNOT_TELL} "
            "whether it is at all"
        )
    if math.isinf(high):
        return (
            f"It is the cheaper choice up to {_long(low)} queries at least, and beyond that "
            f"{CANNOT_TELL}"
        )
    return (
        f"It is the cheaper choice up to {_long(crossover.value)} queries "
        f"({_percent(confidence)} interval {_long(low)} to {_long(high)})"
    )


def _rate_words(rate: ExchangeRate | None) -> str:
    if rate is None:
        return (
            f"{CANNOT_TELL} an exchange rate, since no two models of known inference compute meet at the same "
            "accuracy"
        )
    factor = rate.factor
    if math.isinf(factor.low):
        return "models with less pre-training reach equal accuracy at no more inference compute"
    if math.isnan(factor.low) or (factor.low <= 1.0 and math.isinf(factor.high)):
        return f"{CANNOT_TELL} what factor of pre-training compute inference compute replaces"
    return f"ten times the inference compute replaces {_factor_words(rate)}"


def _factor_words(rate: ExchangeRate) -> str:
    """A factor is not printed beyond the span of pre-training compute over which it was
    measured."""
    factor, span = rate.factor, short(rate.pretraining_span)
    if factor.low >= rate.pretraining_span:
        return f"more pre-training compute than the factor {span} that the models span"
    if factor.high > rate.pretraining_span:
        low = f"at least a factor {short(factor.low)}"
        return f"{low} of pre-training compute (the models span {span})"
    return f"a factor {short(factor.value)} ({_range(factor)}) of pre-training compute"


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _oracle_words(voting: Match | None, oracle: Match | None, evidence: Evidence) -> str:
    rate = evidence.exchange_rates["oracle"]
    factor = "" if rate is None else f", ten times the inference replacing {_factor_words(rate)}"
    if oracle is None or not oracle.is_reached:
        return f"nor would an oracle selector reach a larger model{factor}"
    if not math.isfinite(oracle.k_match.high):
        return f"with an oracle selector {CANNOT_TELL} how many samples it would take{factor}"
    k = oracle.k_match
    samples = f"{k.value:.3g} {_plural(k.value, 'sample')} ({_range(k)})"
    if voting is not None:
        return f"an oracle selector would need {samples}{factor}"
    smaller = _model_words(oracle.smaller, oracle.larger)
    larger = _model_words(oracle.larger, oracle.smaller)
    pair = f"{smaller} match one sample of {larger}"
    return f"an oracle selector would let {pair} with {samples}{factor}"


def _model_words(facts: ModelFacts, other: ModelFacts) -> str:
    """Parameters name a model, unless they do not say which of the two had more pre-training."""
    parameters = f"{short(facts.architecture.num_parameters)} parameters"
    sizes = (facts.architecture.num_parameters, other.architecture.num_parameters)
    is_ordered = (sizes[0] - sizes[1]) * (facts.pretraining_flops - other.pretraining_flops) > 0
    if is_ordered:
        return f"the model of {parameters}"
    return f"the model of {parameters} trained on {short(facts.pretraining_tokens)} tokens"


def _range(estimate: Estimate) -> str:
    return f"{short(estimate.low)}-{short(estimate.high)}"


def _long(value: float) -> str:
    """Three significant digits in words: 2.31 million."""
    for scale, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if 1e15 > value >= scale * 0.9995:
            return f"{value / scale:.3g} {word}"
    return f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _plural(value: float, noun: str, several: str | None = None) -> str:
    return noun if f"{value:.3g}" == "1" else several or f"{noun}s"
