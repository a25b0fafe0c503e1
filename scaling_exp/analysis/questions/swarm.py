"""Swarm: several small models that vote together, against a big one.

Every member gives the same number of samples, and all ballots count alike. What it costs is the sum over the members,
in inference and in pre-training.

Axes: P problems, K numbers of samples of a member, A answers, B random subsets, R rows of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import accuracy_table, cost_of, shown_ks
from scaling_exp.analysis.estimators import Ballots, FloatArray, IntArray
from scaling_exp.analysis.questions.asking import CannotTell, answered
from scaling_exp.analysis.questions.ways import plain_samples
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import percent, short

QUESTION = "Do several small models that vote together beat a big one?"
WHAT = "Whether a swarm of small models beats a big one"


@dataclass(frozen=True)
class Swarm:
    """`members` vote together against `rival`; null: all models but the largest, and the largest. They vote over the
    samples of strategy `plain`; null: of the one that the trade is read from. `num_subsets` random subsets of the
    samples stand for all of them."""

    members: tuple[str, ...] | None = None
    rival: str | None = None
    plain: str | None = None
    num_subsets: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.members is not None and len(set(self.members)) < 2:
            raise ValueError(f"swarm.members is {self.members}; name two different models or more")
        if self.num_subsets < 1:
            raise ValueError(f"swarm.num_subsets is {self.num_subsets}; it must be at least 1")

    def __call__(self, study: Study) -> Answer:
        return answered("swarm", QUESTION, WHAT, lambda: self._answer(study))

    def _answer(self, study: Study) -> Answer:
        members, rival = self._chosen(study)
        ks = shown_ks(min(one.max_k for one in members))
        swarm_PK = pooled_votes(members, ks, self.num_subsets, self.seed)
        table = pd.DataFrame(_rows(study, members, rival, ks, swarm_PK))
        names = ", ".join(one.facts.name for one in members)
        return Answer(
            name="swarm",
            question=QUESTION,
            sentences=list(_sentences(table, names, rival.facts.name)),
            plots=[_plot(table, names)],
            tables={"swarm": table},
            assumptions=[
                f"Every member gives the same number of samples of strategy {rival.strategy} and all ballots count"
                " alike; the cost is the sum.",
                f"The vote's expectation is a mean over {self.num_subsets} random subsets of the samples a problem.",
            ],
        )

    def _chosen(self, study: Study) -> tuple[list[Attempts], Attempts]:
        """Members and rival. Raises CannotTell."""
        drawn = plain_samples(
            (one for one in study.attempts if one.votes and len(one.answers)), self.plain
        )
        ladder = [facts.name for facts in study.models if facts.name in drawn]
        rival = self.rival or (ladder[-1] if ladder else "")
        members = self.members or tuple(name for name in ladder if name != rival)
        for name in (*members, rival):
            if name not in drawn:
                raise CannotTell(f"model {name or 'of any name'} has no samples with answers")
        if len(members) < 2:
            raise CannotTell("fewer than two models are smaller than the largest")
        for name in (*members, rival):
            if np.isnan(_flops([drawn[name]], 1)):
                raise CannotTell(f"the FLOPs of a sample of {name} are not known")
        return [drawn[name] for name in members], drawn[rival]


def pooled_votes(
    members: Sequence[Attempts], ks: Sequence[int], num_subsets: int, seed: int
) -> FloatArray:
    """Probability that the vote over k samples of every member elects a right answer, shape (P, K); the first k of one
    shuffle serve all k. Ties are broken uniformly; a vote without a ballot is wrong."""
    rng = np.random.default_rng(seed)
    num_problems = len(members[0].problems)
    values_PK = np.zeros((num_problems, len(ks)))
    ballots = [_ballots(one) for one in members]
    for problem in range(num_problems):
        codes: dict[tuple[str, bool], int] = {}
        cast = [_codes(of_member[problem], codes) for of_member in ballots]
        every_S = np.concatenate(cast)
        answer_S = np.where(every_S < 0, len(codes), every_S)
        is_right_A = np.array([is_right for _, is_right in codes], bool)
        together = Ballots(answer_S, np.ones(len(answer_S)), is_right_A)
        members_S = np.split(np.arange(len(answer_S)), np.cumsum([len(each) for each in cast])[:-1])
        shuffled = [rng.permuted(np.tile(each, (num_subsets, 1)), axis=1) for each in members_S]
        for column, k in enumerate(ks):
            chosen_BS = np.concatenate([each[:, :k] for each in shuffled], axis=1)
            values_PK[problem, column] = together.elect(chosen_BS).mean()
    return values_PK


def _ballots(one: Attempts) -> list[list[tuple[str | None, bool, int]]]:
    """By problem: an answer, whether it is right, and how many samples gave it; None for those that abstain."""
    assert one.votes is not None
    found: list[list[tuple[str | None, bool, int]]] = [
        [(None, False, int(number))] for number in one.votes.num_abstaining_P
    ]
    columns = (one.votes.problem_A, one.votes.answer_A, one.votes.is_right_A, one.votes.votes_A)
    for problem, answer, is_right, number in zip(*(each.tolist() for each in columns), strict=True):
        found[problem].append((one.answers[answer], is_right, number))
    return found


def _codes(
    ballots: Sequence[tuple[str | None, bool, int]], codes: dict[tuple[str, bool], int]
) -> IntArray:
    """A code for each sample, -1 for those that abstain; answers that are new get the next."""
    cast = [
        -1 if answer is None else codes.setdefault((answer, is_right), len(codes))
        for answer, is_right, _ in ballots
    ]
    return np.repeat(cast, [number for *_, number in ballots])


def _rows(
    study: Study,
    members: Sequence[Attempts],
    rival: Attempts,
    ks: Sequence[int],
    swarm_PK: FloatArray,
) -> Iterator[dict[str, object]]:
    """The swarm at every k, and the rival's vote at the FLOPs that are nearest below, at least its single sample."""
    means = study.resamples.means
    rival_ks = shown_ks(rival.max_k)
    rival_RK = means(accuracy_table(rival, "voting", rival_ks))
    rival_flops_K = [_flops([rival], k) for k in rival_ks]
    pretraining = sum(one.facts.pretraining_flops for one in members)
    for column, k in enumerate(ks):
        swarm_R, flops = means(swarm_PK[:, column]), _flops(members, k)
        at = max(0, int(np.searchsorted(rival_flops_K, flops, side="right")) - 1)
        gain = study.resamples.estimate(swarm_R - rival_RK[:, at], np.nan)
        yield {
            "k": k,
            "inference_flops": flops,
            "pretraining_flops": pretraining,
            **study.resamples.accuracy_estimate(swarm_R).columns("accuracy"),
            "rival": rival.facts.name,
            "rival_k": rival_ks[at],
            "rival_flops": rival_flops_K[at],
            "rival_pretraining_flops": rival.facts.pretraining_flops,
            "rival_accuracy": float(rival_RK[0, at]),
            **gain.columns("gain"),
        }


def _flops(attempts: Sequence[Attempts], k: int) -> float:
    costs = [cost_of(one, "voting", "inference_flops") for one in attempts]
    return float(sum((each.prompt_P + k * each.sample_P).mean() for each in costs))


def _sentences(table: pd.DataFrame, names: str, rival: str) -> Iterator[str]:
    better, worse = (
        table.loc[is_so.to_numpy(bool)] for is_so in (table["gain_low"] > 0, table["gain_high"] < 0)
    )
    yield (
        f"The vote of {names} together beats that of {rival} at the FLOPs nearest below in {len(better)} of"
        f" {len(table)} numbers of samples, is beaten in {len(worse)}, and in"
        f" {len(table) - len(better) - len(worse)} the data cannot tell."
    )
    last = table.iloc[-1]
    yield (
        f"With {last['k']} samples of each it reaches {percent(float(last['accuracy']))} for"
        f" {short(float(last['inference_flops']))} FLOPs; {rival} with {last['rival_k']} reaches"
        f" {percent(float(last['rival_accuracy']))} for {short(float(last['rival_flops']))}. Its pre-training took"
        f" {short(float(last['pretraining_flops']))} FLOPs in all, that of {rival}"
        f" {short(float(last['rival_pretraining_flops']))}."
    )


def _plot(table: pd.DataFrame, names: str) -> Plot:
    own = Series(
        name=names,
        x=table["inference_flops"].tolist(),
        y=table["accuracy"].tolist(),
        low=table["accuracy_low"].tolist(),
        high=table["accuracy_high"].tolist(),
    )
    rival = table.drop_duplicates("rival_k")
    other = Series(
        name=str(table["rival"].iloc[0]),
        x=rival["rival_flops"].tolist(),
        y=rival["rival_accuracy"].tolist(),
        model=str(table["rival"].iloc[0]),
    )
    return Plot(
        name="swarm",
        title="Small models that vote together, and a big one that votes with itself",
        caption="Majority voting; the swarm's cost is the sum over its members.",
        x_label="inference FLOPs a query",
        y_label="accuracy",
        series=[own, other],
        is_log_x=True,
    )
