"""A planner on paper: with so much compute, which model, trained on how much, thinking how long?

One law, one budget, one demand. Training N parameters on D tokens costs 6ND, answering costs 2N a token, and each is
divided by the share of an accelerator's peak that it sustains. For a size N and a number of samples k the demand
leaves a certain D; the best plan is searched over a grid of N and k. It knows nothing of how the law was found, and
prices neither attention over long contexts nor idle machines.

Axes: R rows of the law's parameters, X places (N, k) of the grid, S shares of inference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scaling_exp.analysis.estimators import FloatArray

LawFunction = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
"""(N, D, k), each of shape (X,) or (R, X), to the loss, (R, X). Lower is better; falls as D grows."""

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Cluster:
    """What a cluster can do: FLOPs at its peak, and the shares of it that training and answering sustain."""

    peak_flops: float
    training_utilisation: float
    inference_utilisation: float


@dataclass(frozen=True)
class Demand:
    """Queries over the model's life; each has a prompt, and k samples of an answer."""

    num_queries: float
    prompt_tokens: float
    answer_tokens: float

    def flops(self, num_parameters: FloatArray, num_samples: FloatArray) -> FloatArray:
        """Of all queries: 2N a token, the prompt once a query."""
        tokens = self.prompt_tokens + num_samples * self.answer_tokens
        return self.num_queries * 2.0 * num_parameters * tokens


@dataclass(frozen=True)
class Grid:
    """Where plans are looked for: sizes, numbers of samples, and the range of D that the law may be asked for."""

    sizes_X: FloatArray
    samples_X: FloatArray
    tokens: tuple[float, float]

    @classmethod
    def of(
        cls,
        sizes: tuple[float, float],
        tokens: tuple[float, float],
        samples: tuple[float, float],
        num_sizes: int = 240,
        num_samples: int = 49,
    ) -> Grid:
        """All combinations, evenly spaced in logs; one number of samples where the range is one."""
        sizes_N = np.geomspace(*sizes, num_sizes)
        samples_K = np.unique(np.geomspace(*samples, num_samples))
        sizes_NK, samples_NK = np.meshgrid(sizes_N, samples_K, indexing="ij")
        return cls(sizes_NK.ravel(), samples_NK.ravel(), tokens)


@dataclass(frozen=True)
class Plans:
    """The best plan for every row of the law, (R,) each. `is_inside` is False where the best lies on the edge of the
    grid, or where no place of it can be paid for, so that the best is not known."""

    size_R: FloatArray
    tokens_R: FloatArray
    samples_R: FloatArray
    inference_share_R: FloatArray
    loss_R: FloatArray
    is_inside: bool


def best_plans(law: LawFunction, grid: Grid, cluster: Cluster, demand: Demand) -> Plans:
    """The plan of least loss that the cluster can pay for."""
    inference_X = demand.flops(grid.sizes_X, grid.samples_X) / cluster.inference_utilisation
    left_X = (cluster.peak_flops - inference_X) * cluster.training_utilisation
    tokens_X = left_X / (6.0 * grid.sizes_X)
    low, high = grid.tokens
    is_known_X = (tokens_X >= low) & (tokens_X <= high)
    loss_RX = law(grid.sizes_X, np.clip(tokens_X, low, high), grid.samples_X)
    loss_RX = np.where(is_known_X, loss_RX, np.inf)
    best_R = loss_RX.argmin(axis=1)
    return Plans(
        size_R=grid.sizes_X[best_R],
        tokens_R=tokens_X[best_R],
        samples_R=grid.samples_X[best_R],
        inference_share_R=inference_X[best_R] / cluster.peak_flops,
        loss_R=np.take_along_axis(loss_RX, best_R[:, None], axis=1)[:, 0],
        is_inside=bool(is_known_X.any()) and _is_inside(grid, tokens_X[best_R[0]], int(best_R[0])),
    )


def _is_inside(grid: Grid, tokens: float, best: int) -> bool:
    """Not at the smallest or largest size, nor at the last tokens, nor at the last sample. At one sample is no edge:
    fewer there are not."""
    step = grid.sizes_X.max() / grid.sizes_X.min()
    margin = step ** (1 / len(np.unique(grid.sizes_X)))
    sizes = (grid.sizes_X.min() * margin, grid.sizes_X.max() / margin)
    is_size_inside = sizes[0] < grid.sizes_X[best] < sizes[1]
    is_tokens_inside = grid.tokens[0] * margin < tokens < grid.tokens[1] / margin
    most = grid.samples_X.max()
    is_samples_inside = most == 1 or grid.samples_X[best] < most
    return bool(is_size_inside and is_tokens_inside and is_samples_inside)


def cost_by_share(
    law: LawFunction,
    grid: Grid,
    cluster: Cluster,
    demand: Demand,
    loss: float,
    share_S: FloatArray,
) -> FloatArray:
    """Least compute (FLOPs at the peak) that reaches a loss with a given share of it spent on inference, shape (S,);
    NaN where no place of the grid does. Shares fall into bins around those asked for."""
    tokens_X = _tokens_for(law, grid, loss)
    training_X = 6.0 * grid.sizes_X * tokens_X / cluster.training_utilisation
    inference_X = demand.flops(grid.sizes_X, grid.samples_X) / cluster.inference_utilisation
    total_X = training_X + inference_X
    with np.errstate(invalid="ignore"):
        share_X = inference_X / total_X
    edges = np.concatenate([[0.0], (share_S[1:] + share_S[:-1]) / 2, [1.0]])
    costs = [
        total_X[(share_X >= low) & (share_X < high) & np.isfinite(total_X)]
        for low, high in pairwise(edges)
    ]
    return np.array([each.min() if len(each) else np.nan for each in costs])


def _tokens_for(law: LawFunction, grid: Grid, loss: float) -> FloatArray:
    """D at which each place of the grid reaches a loss, by bisection; inf where it does not, shape (X,)."""
    low_X = np.full(len(grid.sizes_X), np.log(grid.tokens[0]))
    high_X = np.full(len(grid.sizes_X), np.log(grid.tokens[1]))
    can_X = law(grid.sizes_X, np.exp(high_X), grid.samples_X)[0] <= loss
    for _ in range(50):
        middle_X = (low_X + high_X) / 2
        reaches_X = law(grid.sizes_X, np.exp(middle_X), grid.samples_X)[0] <= loss
        high_X = np.where(reaches_X, middle_X, high_X)
        low_X = np.where(reaches_X, low_X, middle_X)
    return np.where(can_X, np.exp(high_X), np.inf)
