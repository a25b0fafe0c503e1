"""Budget: given a cluster, some days and the queries to come, how much for pre-training and how much for inference?

A plan on paper. It stands on one law: the joint law of this study in N, D and k, which is used to ten times beyond its
data and refused further out, or the published law of Hoffmann et al., which knows no k and is a law of loss, not of
accuracy. Its uncertainty is that of the law's parameters; that the law holds out there is assumed.

Axes: R rows of the law's parameters, S shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.questions.asking import answered
from scaling_exp.analysis.questions.planner import (
    SECONDS_PER_DAY,
    Cluster,
    Demand,
    Plans,
    best_plans,
    cost_by_share,
)
from scaling_exp.analysis.questions.planning_laws import PlanningLaw, fitted_law, published_law
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import (
    percent,
    percent_valued,
    short,
    valued,
)

QUESTION = "Given a cluster and the queries to come, how should compute be split?"
NUM_STEPS = 13
DECADES = 3
SHARES = np.linspace(0.01, 0.99, 50)


@dataclass(frozen=True)
class Budget:
    """`flops_per_second` is one accelerator's peak: 989e12 is an H100 SXM's in dense bfloat16 (its data sheet).

    A query is a prompt and k answers, each of so many tokens; under Hoffmann's law k is 1.
    """

    law: Literal["fitted", "hoffmann"] = "fitted"
    num_accelerators: tuple[int, ...] = (25_000, 100_000)
    accelerator: str = "H100"
    flops_per_second: float = 989e12
    days: float = 90.0
    training_utilisation: float = 0.4
    inference_utilisation: float = 0.2
    num_queries: float = 1e11
    prompt_tokens: float = 500.0
    answer_tokens: float = 1000.0

    def __post_init__(self) -> None:
        for name in ("flops_per_second", "days", "num_queries", "answer_tokens"):
            if not getattr(self, name) > 0:
                raise ValueError(f"budget.{name} is {getattr(self, name)}; it must be positive")
        for name in ("training_utilisation", "inference_utilisation"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"budget.{name} is {getattr(self, name)}; it must be in (0, 1]")
        if not self.num_accelerators or min(self.num_accelerators) < 1:
            raise ValueError("budget.num_accelerators must name at least one cluster, none empty")
        if self.prompt_tokens < 0:
            raise ValueError(f"budget.prompt_tokens is {self.prompt_tokens}; it must be 0 or more")

    def __call__(self, study: Study) -> Answer:
        return answered("budget", QUESTION, "How to split compute", lambda: self._answer(study))

    def _answer(self, study: Study) -> Answer:
        laws = [published_law()] if self.law == "hoffmann" else fitted_law(study)
        plans = {
            law.name: [self._plans(law, num, self.num_queries) for num in self.num_accelerators]
            for law in laws
        }
        by_queries = {law.name: self._by_queries(law) for law in laws}
        return Answer(
            name="budget",
            question=QUESTION,
            sentences=[words for law in laws for words in self._sentences(law, plans[law.name])],
            plots=[
                plot
                for law in laws
                for plot in (
                    self._cost_plot(law, plans[law.name]),
                    self._query_plot(law, by_queries[law.name]),
                )
                if plot.series
            ],
            tables={
                "plans": pd.concat([self._table(law, plans[law.name]) for law in laws]),
                "plans_by_queries": pd.concat(list(by_queries.values())),
            },
            assumptions=self._assumptions(laws),
            numbers={law.name: self._numbers(law, plans[law.name]) for law in laws},
        )

    def _plans(self, law: PlanningLaw, num_accelerators: int, num_queries: float) -> Plans:
        demand = Demand(num_queries, self.prompt_tokens, self.answer_tokens)
        return best_plans(law.function, law.grid, self._cluster(num_accelerators), demand)

    def _cluster(self, num_accelerators: int) -> Cluster:
        peak = num_accelerators * self.flops_per_second * self.days * SECONDS_PER_DAY
        return Cluster(peak, self.training_utilisation, self.inference_utilisation)

    def _sentences(self, law: PlanningLaw, plans: Sequence[Plans]) -> list[str]:
        pairs = zip(self.num_accelerators, plans, strict=True)
        return [self._sentence(law, num, plan) for num, plan in pairs]

    def _sentence(self, law: PlanningLaw, num_accelerators: int, plans: Plans) -> str:
        cluster = f"{num_accelerators:,} {self.accelerator}s for {short(self.days)} days"
        peak = self._cluster(num_accelerators).peak_flops
        asked = f"{short(self.num_queries)} queries of {short(self.prompt_tokens)} + k x {short(self.answer_tokens)}"
        if not plans.is_inside:
            return (
                f"How to split {cluster} ({short(peak)} FLOPs at the peak, {asked} tokens), the data cannot tell, "
                f"because under {law.name} the best plan lies beyond what it may be asked for: {law.range_words}."
            )
        share = percent_valued(law.estimate(plans.inference_share_R))
        size, tokens = law.estimate(plans.size_R), law.estimate(plans.tokens_R)
        drawn = ""
        if law.knows_samples:
            drawn = f", and draw k = {valued(law.estimate(plans.samples_R))} samples a query"
        ratio = short(float(plans.tokens_R[0] / plans.size_R[0]))
        return (
            f"Under {law.name}, {cluster} ({short(peak)} FLOPs at the peak) that answer {asked} tokens best spend "
            f"{share} of their time on inference: train N = {valued(size)} parameters on D = {valued(tokens)} tokens "
            f"({ratio} a parameter){drawn}; {law.loss_name} {valued(law.estimate(plans.loss_R))}"
            f"{law.beyond_words(plans)}."
        )

    def _by_queries(self, law: PlanningLaw) -> pd.DataFrame:
        """The best plan of every cluster for a thousandth to a thousand times the queries."""
        factors = np.geomspace(10.0**-DECADES, 10.0**DECADES, NUM_STEPS)
        rows = []
        for num in self.num_accelerators:
            for queries in self.num_queries * factors:
                plans = self._plans(law, num, queries)
                if plans.is_inside:
                    rows.append({"num_accelerators": num, "num_queries": queries, **law.row(plans)})
        return pd.DataFrame(rows)

    def _table(self, law: PlanningLaw, plans: Sequence[Plans]) -> pd.DataFrame:
        return pd.DataFrame(
            {"num_accelerators": num, "num_queries": self.num_queries, **law.row(plan)}
            for num, plan in zip(self.num_accelerators, plans, strict=True)
            if plan.is_inside
        )

    def _numbers(self, law: PlanningLaw, plans: Sequence[Plans]) -> list[dict[str, object]]:
        return [
            {"num_accelerators": num, "is_known": plan.is_inside, **law.numbers(plan)}
            for num, plan in zip(self.num_accelerators, plans, strict=True)
        ]

    def _cost_plot(self, law: PlanningLaw, plans: Sequence[Plans]) -> Plot:
        """Total compute against the share of inference, at the loss that each cluster's best plan reaches."""
        demand = Demand(self.num_queries, self.prompt_tokens, self.answer_tokens)
        series = []
        for num, plan in zip(self.num_accelerators, plans, strict=True):
            if not plan.is_inside:
                continue
            cost_S = cost_by_share(
                law.central, law.grid, self._cluster(num), demand, float(plan.loss_R[0]), SHARES
            )
            is_known_S = np.isfinite(cost_S)
            name = f"{law.loss_name} {plan.loss_R[0]:.4g} ({num:,} {self.accelerator}s)"
            series.append(
                Series(
                    name,
                    SHARES[is_known_S].tolist(),
                    cost_S[is_known_S].tolist(),
                    style=law.style(plan),
                )
            )
        return Plot(
            name=f"cost_by_split_{law.slug}",
            title="What the same quality costs, by how compute is split",
            caption="The lowest point is the best split; a flat valley means that the split matters little.",
            x_label="share of accelerator time spent on inference",
            y_label="total compute (FLOPs at the peak)",
            series=series,
            is_log_y=True,
        )

    def _query_plot(self, law: PlanningLaw, by_queries: pd.DataFrame) -> Plot:
        series = []
        for num, own in by_queries.groupby("num_accelerators") if len(by_queries) else ():
            is_inside = bool((own["times_beyond_data"] <= 1 + 1e-9).all())
            series.append(
                Series(
                    name=f"{num:,} {self.accelerator}s",
                    x=own["num_queries"].tolist(),
                    y=own["inference_share"].tolist(),
                    low=own["inference_share_low"].tolist(),
                    high=own["inference_share_high"].tolist(),
                    style="fitted" if is_inside else "extrapolated",
                )
            )
        return Plot(
            name=f"split_by_queries_{law.slug}",
            title="The best split, by how many queries come",
            caption=f"Under {law.name}; no point where the best plan lies beyond what the law may be asked for.",
            x_label="queries over the model's life",
            y_label="share of accelerator time spent on inference",
            series=series,
            is_log_x=True,
        )

    def _assumptions(self, laws: Sequence[PlanningLaw]) -> list[str]:
        return [
            "Training costs 6ND and answering 2N a token: attention over long contexts, memory bandwidth and idle "
            "machines are in the utilisations "
            f"({percent(self.training_utilisation)} in training, {percent(self.inference_utilisation)} in inference).",
            "All the time of the cluster is used, data are not scarce, and every query must be answered.",
            *(law.assumption for law in laws),
        ]
