"""A random electorate: chances to be elected when every sample votes with the same probability, and
what follows from them for a fixed number of voters.

With independent binomial votes a chance costs a thousandth of an exact one, and is the mean of the
wanted f(k) over k ~ Binomial(n, p). Counting even and odd k with opposite signs costs a second one,
and tells the two apart (ties of two make an even and an odd electorate differ). Ties of three leave a
trace with period 3; it is measured and stated as an error. Between a few known values
at both ends, f over the even and f over the odd k are taken as cubic splines in log(k / (n-k)), whose
knots solve a linear system (depoissonization: Jacquet and Szpankowski 1998, Theoretical Computer
Science 201).

Axes: E elections, K numbers of samples asked for, R inclusions (one for each inner knot),
G known values: f(1..m), f(n-m..n), D draws of one parity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import gammaln

from scaling_exp.analysis.estimators.arrays import BoolArray, FloatArray, IntArray
from scaling_exp.analysis.estimators.elections import Elections, Precision, elected

KNOT_RATIO = 1.25
"""Of the odds k / (n-k) of neighbouring inner knots."""
ROUGH = Precision(deviations=5.5, log_error=17.0)
ROUGH_ERROR = 3e-7
"""Of a chance to be elected, with that precision."""
ROWS_AT_ONCE = 1024
ALL_ALIKE = np.array([0.0])
PERIODS = np.array([np.pi, 2.0 * np.pi / 3.0])
"""Angles by which each further draw turns its weight: not at all; by its parity, and by thirds."""


@dataclass(frozen=True)
class RandomElectorate:
    """`margin` is m, how many values are known at either end."""

    elections: Elections
    margin: int
    inclusions: FloatArray

    @classmethod
    def of(cls, elections: Elections, margin: int) -> RandomElectorate:
        outermost = np.log((elections.num_samples - margin) / margin)
        num_inner = int(2.0 * outermost / np.log(KNOT_RATIO)) | 1
        logits_R = np.linspace(-outermost, outermost, num_inner + 2)[1:-1]
        return cls(elections, margin, 1.0 / (1.0 + np.exp(-logits_R)))

    def elected(self, inclusion: float) -> FloatArray:
        """Chance to be elected, the part of it from even numbers of draws, and how much of it depends
        on their number modulo 3; shape (3, E)."""
        elections, own_E = self.elections, self.elections.own_E
        won_E, lost_E = elections.settled(inclusion * elections.num_samples, ROUGH.log_error)
        no_vote_E = (1.0 - inclusion) ** own_E
        sign = 1.0 - 2.0 * inclusion
        signed_E = (sign**own_E - no_vote_E) * sign ** (elections.num_samples - own_E)
        won_E3 = np.stack([1.0 - no_vote_E, signed_E, np.zeros_like(no_vote_E)], axis=1)
        sums_E3 = np.where(won_E[:, None], won_E3, 0.0).astype(np.complex128)
        is_live_E = ~won_E & ~lost_E
        sums_E3[is_live_E, :1] = self._live(is_live_E, inclusion, ALL_ALIKE)
        is_live_E &= self._hidden(inclusion) < ROUGH.log_error
        sums_E3[is_live_E, 1:] = self._live(is_live_E, inclusion, PERIODS)
        all_E, signed_E = sums_E3[:, 0].real, sums_E3[:, 1].real
        return np.stack([all_E, (all_E + signed_E) / 2.0, 2.0 * np.abs(sums_E3[:, 2])])

    def _live(self, is_live_E: BoolArray, inclusion: float, angles_N: FloatArray) -> np.ndarray:
        parts = [np.zeros((0, len(angles_N)))]
        for rows in self.elections.chunks(np.flatnonzero(is_live_E), ROWS_AT_ONCE):
            part = elected(
                self.elections,
                rows,
                inclusion,
                angles_N,
                most_votes=self.elections.num_samples,
                most_ties=lambda j: 3 if j > 3 else 7,
                precision=ROUGH,
            )
            parts.append(part)
        return np.concatenate(parts)

    def at(
        self, ks_K: IntArray, known_EG: FloatArray, random_R3E: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """f(k) and how far it may be off, both (E, K), from the known values and what `elected` says
        at each inclusion.

        The error is the most that splines with half the knots would have changed at k or its
        neighbours, what depends on k modulo 3, and what each chance may be off.
        """
        n, every = self.elections.num_samples, np.arange(len(self.inclusions))
        nearby = [np.clip(np.round(ks_K * by).astype(int), 1, n) for by in (1.0, 0.85, 1.15)]
        asked = np.concatenate(nearby)
        fine = self._solved(asked, every, known_EG, random_R3E)
        coarse = self._solved(asked, every[1::2], known_EG, random_R3E)
        errors = np.abs(fine - coarse).reshape(len(fine), 3, len(ks_K)).max(axis=1)
        errors += (self._between_inclusions(ks_K) @ random_R3E[:, 2]).T + ROUGH_ERROR
        is_known_K = (ks_K <= self.margin) | (ks_K >= n - self.margin)
        return fine[:, : len(ks_K)], np.where(is_known_K, 0.0, errors)

    def _between_inclusions(self, ks_K: IntArray) -> FloatArray:
        """Weights of linear interpolation in the odds, shape (K, R)."""
        odds_R = np.log(self.inclusions / (1.0 - self.inclusions))
        n = self.elections.num_samples
        odds_K = _log_odds(np.clip(ks_K, 1, n - 1), n)
        columns = [np.interp(odds_K, odds_R, unit_R) for unit_R in np.eye(len(odds_R))]
        return np.stack(columns, axis=1)

    def _solved(
        self, ks: IntArray, chosen: IntArray, known_EG: FloatArray, random_R3E: FloatArray
    ) -> FloatArray:
        """f at ks from splines through the known values and the chosen inner knots, shape (E, ks)."""
        even_RE = random_R3E[chosen, 1]
        values = np.empty((len(known_EG), len(ks)))
        for parity, sums_RE in ((0, even_RE), (1, random_R3E[chosen, 0] - even_RE)):
            draws_D, values_DG, values_DR = self._cardinals(parity, self.inclusions[chosen])
            weights_RD = self._weights(self.inclusions[chosen])[:, draws_D]
            known_RE = weights_RD @ values_DG @ known_EG.T
            knots_RE = np.linalg.solve(weights_RD @ values_DR, sums_RE - known_RE)
            asked = np.flatnonzero(ks % 2 == parity)
            at = np.searchsorted(draws_D, ks[asked])
            values[:, asked] = known_EG @ values_DG[at].T + knots_RE.T @ values_DR[at].T
        return values

    def _cardinals(
        self, parity: int, inclusions_R: FloatArray
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """The draws of one parity, and f at them as a linear function of the known values and of the
        inner knots."""
        n, margin = self.elections.num_samples, self.margin
        draws_D = np.arange(2 - parity, n + 1, 2)
        known = np.concatenate([np.arange(1, margin + 1), np.arange(n - margin, n + 1)])
        values_DG = (draws_D[:, None] == known).astype(np.float64)
        values_DR = np.zeros((len(draws_D), len(inclusions_R)))
        is_inner_D = (draws_D > margin) & (draws_D < n - margin)
        ours = np.flatnonzero((known % 2 == parity) & (known < n))
        low, high = ours[known[ours] <= margin], ours[known[ours] > margin]
        knots = np.concatenate([known[low], inclusions_R * n, known[high]])
        splines = CubicSpline(_log_odds(knots, n), np.eye(len(knots)))
        inner = splines(_log_odds(draws_D[is_inner_D], n))
        values_DR[is_inner_D] = inner[:, len(low) : len(knots) - len(high)]
        for columns, part in ((low, inner[:, : len(low)]), (high, inner[:, -len(high) :])):
            values_DG[np.ix_(is_inner_D, columns)] = part
        return draws_D, values_DG, values_DR

    def _weights(self, inclusions_R: FloatArray) -> FloatArray:
        """Binomial(n, p) of 0..n draws, shape (R, n + 1)."""
        draws = np.arange(self.elections.num_samples + 1)
        logs = gammaln(draws + 1.0)
        log_in, log_out = np.log(inclusions_R), np.log1p(-inclusions_R)
        log_choose = logs[-1] - logs - logs[::-1]
        return np.exp(log_choose + np.outer(log_in, draws) + np.outer(log_out, draws[::-1]))

    def _hidden(self, inclusion: float) -> FloatArray:
        """How well it is hidden whether the number of draws was even, as an exponent, shape (E,).

        It shows in ties with the leader. Votes of any other answer, and of nobody, are as often even
        as odd but for exp(-2p(1-p) votes); a rival's show as far as it ties with the leader.
        """
        elections = self.elections
        rivals_EC = elections.rivals_EC
        row_ = np.repeat(np.arange(len(elections)), np.diff(rivals_EC.indptr))
        votes_ = elections.counts_C[rivals_EC.indices]
        leader_E = np.maximum(elections.own_E, elections.top_E)
        abstaining_E = elections.num_samples - elections.own_E - rivals_EC @ elections.counts_C
        spread = 2.0 * (1.0 - inclusion)
        gap_ = (np.sqrt(leader_E)[row_] - np.sqrt(votes_)) ** 2
        hidden_ = rivals_EC.data * np.minimum(spread * votes_, gap_)
        hidden_E = np.bincount(row_, hidden_, minlength=len(elections))
        return inclusion * (hidden_E + spread * abstaining_E)


def _log_odds(draws: NDArray[np.number], num_samples: int) -> FloatArray:
    return np.log(draws / (num_samples - draws))
