"""Strategies: which continuations of a prompt to pay for. `kind:` in a configuration chooses from `STRATEGIES`."""

from scaling_exp.strategies.parallel import AdaptiveVoting, Greedy, ParallelSampling

STRATEGIES = {
    "greedy": Greedy,
    "sampling": ParallelSampling,
    "adaptive_voting": AdaptiveVoting,
}
