"""A planner on paper: with so much compute, which model, trained on how much, thinking how long?

One law, one budget, one demand. Training N parameters on D tokens costs 6ND, answering costs 2N a token, and each is
divided by the share of an accelerator's peak that it sustains. For a size N and a number of samples k the demand
leaves a certain D; the best plan is searched over a grid of N and k. It knows nothing of how the law was found, and
prices neither attention over long contexts nor idle machines.

Axes: R rows of the law's parameters, N sizes, K numbers of samples, X their pairs, S shares of inference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scaling_exp.analysis.estimators import FloatArray, IntArray

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
    """Where plans are looked for: all pairs of a size and a number of samples, evenly spaced in logs (sizes_X varies
    slowest), and the range of D that the law may be asked for."""

    log_size_N: FloatArray
    log_samples_K: FloatArray
    tokens: tuple[float, float]

    @classmethod
    def of(
        cls,
        sizes: tuple[float, float],
        tokens: tuple[float, float],
        samples: tuple[float, float],
        num_sizes: int = 100,
        num_samples: int = 25,
    ) -> Grid:
        """One number of samples where their range is one."""
        log_size_N = np.log(np.geomspace(sizes[0], sizes[1], num_sizes))
        log_samples_K = np.log(np.geomspace(samples[0], samples[1], num_samples))
        return cls(log_size_N, np.unique(log_samples_K), tokens)

    @property
    def sizes_X(self) -> FloatArray:
        return np.repeat(np.exp(self.log_size_N), len(self.log_samples_K))

    @property
    def samples_X(self) -> FloatArray:
        return np.tile(np.exp(self.log_samples_K), len(self.log_size_N))


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
    """The plan of least loss that the cluster can pay for, between the places of the grid by parabolas through it."""
    tokens_X = _affordable_tokens(grid.sizes_X, grid.samples_X, cluster, demand)
    low, high = grid.tokens
    is_known_X = (tokens_X >= low) & (tokens_X <= high)
    loss_RX = law(grid.sizes_X, np.clip(tokens_X, low, high), grid.samples_X)
    loss_RNK = np.where(is_known_X, loss_RX, np.inf).reshape(
        -1, len(grid.log_size_N), len(grid.log_samples_K)
    )
    size_R, samples_R = _lowest(loss_RNK, grid)
    inference_R = demand.flops(size_R, samples_R) / cluster.inference_utilisation
    tokens_R = _affordable_tokens(size_R, samples_R, cluster, demand)
    return Plans(
        size_R=size_R,
        tokens_R=tokens_R,
        samples_R=samples_R,
        inference_share_R=inference_R / cluster.peak_flops,
        loss_R=loss_RNK.min(axis=(1, 2)),
        is_inside=bool(is_known_X.any())
        and _is_inside(grid, float(size_R[0]), float(tokens_R[0]), float(samples_R[0])),
    )


def _affordable_tokens(
    size_X: FloatArray, samples_X: FloatArray, cluster: Cluster, demand: Demand
) -> FloatArray:
    """D for which the demand leaves compute; negative where it leaves none."""
    inference_X = demand.flops(size_X, samples_X) / cluster.inference_utilisation
    return (cluster.peak_flops - inference_X) * cluster.training_utilisation / (6.0 * size_X)


def _lowest(loss_RNK: FloatArray, grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Size and number of samples of least loss, (R,) each."""
    num_rows, _, num_samples = loss_RNK.shape
    best_R = loss_RNK.reshape(num_rows, -1).argmin(axis=1)
    at_N, at_K = best_R // num_samples, best_R % num_samples
    rows_R = np.arange(num_rows)
    by_size_RN, by_samples_RK = loss_RNK[rows_R, :, at_K], loss_RNK[rows_R, at_N, :]
    log_size_R = _vertex(grid.log_size_N, by_size_RN, at_N)
    return np.exp(log_size_R), np.exp(_vertex(grid.log_samples_K, by_samples_RK, at_K))


def _vertex(x_X: FloatArray, y_RX: FloatArray, at_R: IntArray) -> FloatArray:
    """Where the parabola through the lowest place and its neighbours is lowest; the place itself at an edge."""
    if len(x_X) < 3:
        return x_X[at_R]
    inner_R = np.clip(at_R, 1, len(x_X) - 2)
    rows_R = np.arange(len(at_R))
    left_R, middle_R, right_R = (y_RX[rows_R, inner_R + step] for step in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        shift_R = 0.5 * (left_R - right_R) / (left_R - 2 * middle_R + right_R)
    is_known_R = np.isfinite(shift_R) & (inner_R == at_R)
    return x_X[at_R] + np.where(is_known_R, np.clip(shift_R, -0.5, 0.5), 0.0) * (x_X[1] - x_X[0])


def _is_inside(grid: Grid, size: float, tokens: float, samples: float) -> bool:
    """Not within a step of the smallest or largest size, nor of the fewest or most tokens, nor at the most samples. One
    sample is no edge: fewer there are not."""
    step = float(np.exp(grid.log_size_N[1] - grid.log_size_N[0]))
    smallest, largest = np.exp(grid.log_size_N[[0, -1]])
    few, many = grid.tokens
    most = float(np.exp(grid.log_samples_K[-1]))
    is_bounded = smallest * step < size < largest / step and few * step < tokens < many / step
    return bool(is_bounded and (most == 1 or samples < most * (1 - 1e-9)))


def cost_by_share(
    law: LawFunction,
    grid: Grid,
    cluster: Cluster,
    demand: Demand,
    loss: float,
    share_S: FloatArray,
) -> FloatArray:
    """Least compute (FLOPs at the peak) that reaches a loss with a given share of it spent on inference, shape (S,);
    NaN where no place of the grid does. Shares fall into bins around those asked for; of the law the first row."""
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
