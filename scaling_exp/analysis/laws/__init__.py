"""Laws: formulas fitted to what was measured, judged by points that they have not seen, and kept near their data.

`fit.py` says what a law and a fit are; each module below it holds the laws of one quantity. They are pure functions on
arrays: a study is looked at in question.py alone.
"""

from __future__ import annotations

from scaling_exp.analysis.laws.accuracy import (
    ACCURACY_LAWS,
    LOG_POWER,
    LOGISTIC,
    SIGMOID,
    VOTING,
    fit_accuracy,
    fit_votes,
)
from scaling_exp.analysis.laws.coverage import (
    BETA_BINOMIAL,
    COVERAGE_LAWS,
    POWER,
    SCALED_BETA,
    Counts,
    fit_beta,
    fit_power,
    hold_out,
    spaced_ks,
)
from scaling_exp.analysis.laws.downstream import DOWNSTREAM, fit_downstream
from scaling_exp.analysis.laws.fit import (
    MAX_EXTRAPOLATION,
    Backtest,
    Band,
    Fit,
    Law,
    Observations,
    SearchedLaw,
    backtest,
    fit_law,
    observed,
    rank,
    resampled,
    reweighted,
    unresampled,
)
from scaling_exp.analysis.laws.joint import JOINT, JOINT_COMPUTE, fit_joint, fit_joint_compute
from scaling_exp.analysis.laws.loss import (
    BESIROGLU_PUBLISHED,
    COMPUTE_ONLY,
    GADRE,
    HOFFMANN,
    HOFFMANN_PUBLISHED,
    LossLaw,
    fit_compute_loss,
    fit_loss,
    lifetime_optimum,
)

__all__ = [
    "ACCURACY_LAWS",
    "BESIROGLU_PUBLISHED",
    "BETA_BINOMIAL",
    "COMPUTE_ONLY",
    "COVERAGE_LAWS",
    "DOWNSTREAM",
    "GADRE",
    "HOFFMANN",
    "HOFFMANN_PUBLISHED",
    "JOINT",
    "JOINT_COMPUTE",
    "LOGISTIC",
    "LOG_POWER",
    "MAX_EXTRAPOLATION",
    "POWER",
    "SCALED_BETA",
    "SIGMOID",
    "VOTING",
    "Backtest",
    "Band",
    "Counts",
    "Fit",
    "Law",
    "LossLaw",
    "Observations",
    "SearchedLaw",
    "backtest",
    "fit_accuracy",
    "fit_beta",
    "fit_compute_loss",
    "fit_downstream",
    "fit_joint",
    "fit_joint_compute",
    "fit_law",
    "fit_loss",
    "fit_power",
    "fit_votes",
    "hold_out",
    "lifetime_optimum",
    "observed",
    "rank",
    "resampled",
    "reweighted",
    "spaced_ks",
    "unresampled",
]
