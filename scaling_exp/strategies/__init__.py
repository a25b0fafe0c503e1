"""Strategies: which continuations of a prompt to pay for. `kind:` in a configuration chooses from `STRATEGIES`."""

from scaling_exp.strategies.judged import Judged
from scaling_exp.strategies.parallel import (
    AdaptiveConsistency,
    AdaptiveVoting,
    EarlyStopping,
    Greedy,
    ParallelSampling,
)
from scaling_exp.strategies.sequential import BudgetForcing, Revision
from scaling_exp.strategies.tree import (
    Beam,
    Dvts,
    MonteCarloTreeSearch,
    ParticleFiltering,
    Rebase,
    Steps,
)

STRATEGIES = {
    "greedy": Greedy,
    "sampling": ParallelSampling,
    "adaptive_voting": AdaptiveVoting,
    "adaptive_consistency": AdaptiveConsistency,
    "early_stopping": EarlyStopping,
    "beam": Beam,
    "dvts": Dvts,
    "rebase": Rebase,
    "particle_filtering": ParticleFiltering,
    "mcts": MonteCarloTreeSearch,
    "budget_forcing": BudgetForcing,
    "revision": Revision,
    "judged": Judged,
}

__all__ = [
    "STRATEGIES",
    "AdaptiveConsistency",
    "AdaptiveVoting",
    "Beam",
    "BudgetForcing",
    "Dvts",
    "EarlyStopping",
    "Greedy",
    "Judged",
    "MonteCarloTreeSearch",
    "ParallelSampling",
    "ParticleFiltering",
    "Rebase",
    "Revision",
    "Steps",
]
