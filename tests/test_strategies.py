"""Strategies on the simulated engine, whose answer distribution is known; all that hold of every one, from one list."""

import asyncio
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import comb, sqrt
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from scaling_exp.config import conf_folder, register_resolvers
from scaling_exp.engines.simulated import Distribution, Simulated
from scaling_exp.generation import Forest, Fresh, Score
from scaling_exp.generation import grow as grow_at_once
from scaling_exp.schema import of_kind
from scaling_exp.scorers import Ask, Scoring
from scaling_exp.store import NotDrawn, Pooled, Replay, stream_of
from scaling_exp.strategies import (
    STRATEGIES,
    AdaptiveConsistency,
    AdaptiveVoting,
    Beam,
    BudgetForcing,
    Dvts,
    EarlyStopping,
    Greedy,
    Judged,
    MonteCarloTreeSearch,
    ParallelSampling,
    ParticleFiltering,
    Rebase,
    Revision,
    Steps,
)
from scaling_exp.strategies.judged import num_verdicts
from scaling_exp.strategies.tree import Level, best_first, fill, softmax, systematic
from scaling_exp.types import Completion, Sampling, UserError
from scaling_exp.votes import count_votes, winners

PROMPT = (1, 2, 3)
SAMPLED = Sampling(max_tokens=8)


def read(tokens):
    """The first token is the answer; 0 is unparsable, as is nothing."""
    return str(tokens[0]) if tokens and tokens[0] else None


def truth(weights):
    """Answer i has the i-th weight and takes i + 1 tokens."""
    return Distribution({PROMPT: {(i,) * (i + 1): weight for i, weight in enumerate(weights)}})


def grow(strategy, respond, root="0/model/problem", num_slots=4):
    """The forest that a strategy draws, and the engine that it drew from."""

    async def drawn():
        engine = Simulated(num_slots, 0.01, 0.001, respond).start()
        forest = Forest(PROMPT, Fresh(engine), root, read)
        await strategy(forest)
        await engine.close()
        return forest, engine

    return asyncio.run(drawn())


@given(
    weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    num_samples=st.integers(1, 40),
    root=st.text("abc", min_size=1, max_size=4),
)
def test_adaptive_voting_elects_the_winner_of_the_full_vote_from_a_prefix_of_its_samples(
    weights, num_samples, root
):
    adaptive, _ = grow(AdaptiveVoting(num_samples, SAMPLED), truth(weights), root)
    full, _ = grow(ParallelSampling(num_samples, SAMPLED), truth(weights), root)
    num_drawn = len(adaptive.nodes)
    assert num_drawn <= num_samples == len(full.nodes)
    assert adaptive.accepted == [(i,) for i in range(num_drawn)]
    assert all(adaptive.nodes[path] == full.nodes[path] for path in adaptive.nodes)
    elected, of_all = (
        winners(count_votes(forest.answer(path) for path in forest.accepted))
        for forest in (adaptive, full)
    )
    assert elected == of_all


def test_a_unanimous_vote_stops_after_a_majority():
    forest, _ = grow(AdaptiveVoting(64, SAMPLED), truth([0, 1]))
    assert len(forest.nodes) == 33


def test_unparsable_answers_never_settle_a_vote():
    forest, _ = grow(AdaptiveVoting(16, SAMPLED), truth([1]))
    assert len(forest.nodes) == 16


def test_samples_follow_the_distribution_that_they_are_drawn_from():
    respond = truth([0.2, 0.5, 0.3])
    forest, _ = grow(ParallelSampling(4000, SAMPLED), respond, num_slots=64)
    votes = count_votes(forest.answer(path) for path in forest.accepted)
    for answer, tokens in (("1", (1, 1)), ("2", (2, 2, 2))):
        assert votes[answer] / 4000 == pytest.approx(respond.probability(PROMPT, tokens), abs=0.03)


def test_greedy_draws_the_likeliest_once():
    forest, engine = grow(Greedy(8), truth([0.2, 0.5, 0.3]))
    assert forest.accepted == [(0,)]
    assert forest.answer((0,)) == "1"
    assert engine.counters.output_tokens == 2


def test_a_step_costs_what_the_engine_says():
    """Five requests of 2 tokens in 4 slots: two steps of four, then two of one."""
    _, engine = grow(ParallelSampling(5, SAMPLED), truth([0, 1]))
    assert engine.clock == pytest.approx(2 * (0.01 + 4 * 0.001) + 2 * (0.01 + 0.001))
    assert engine.occupancy == (2 * 4 + 2 * 1) / (4 * 4)
    assert engine.counters.prompt_tokens == 5 * len(PROMPT)


def test_a_completion_is_cut_at_max_tokens():
    forest, _ = grow(Greedy(2), truth([0, 0, 0, 1]))
    completion = forest.nodes[(0,)].completion
    assert completion.tokens == (3, 3)
    assert completion.finish_reason == "length"


@pytest.mark.parametrize("kind", [ParallelSampling, AdaptiveVoting])
def test_impossible_counts_are_refused(kind):
    with pytest.raises(ValueError, match="num_samples is 0"):
        kind(0, SAMPLED)
    with pytest.raises(ValueError, match="all samples would be the same"):
        kind(2, Sampling(max_tokens=8, temperature=0.0))


# Every strategy, in a world where all can happen. Tokens: 0 is unparsable, 1 to 4 are answers, 7 is forced, 8 ends a
# step or a thought, 9 ends the answer; labels are 11 and above.
STEP_END, END = 8, 9
STEPS = Steps(Sampling(max_tokens=6, stop_token_ids=(STEP_END,)), max_steps=5, max_tokens=14)
THINKING = Sampling(max_tokens=12, stop_token_ids=(STEP_END,))
JUDGED = {
    "labels": ("A", "B", "C"),
    "intro": "?",
    "candidate": "{label}:{answer};",
    "question": "?",
}
EVERY = {
    "greedy": Greedy(8),
    "sampling": ParallelSampling(9, SAMPLED),
    "sampling, scored": ParallelSampling(9, SAMPLED, is_scored=True),
    "adaptive voting": AdaptiveVoting(9, SAMPLED),
    "adaptive consistency": AdaptiveConsistency(9, SAMPLED, 0.8),
    "early stopping": EarlyStopping(9, SAMPLED, 2),
    "beam": Beam(6, STEPS, 2),
    "beam, uneven": Beam(7, STEPS, 3),
    "beam of one": Beam(1, STEPS, 1),
    "one step": Beam(5, replace(STEPS, max_steps=1), 2),
    "beam that is stopped": Beam(6, replace(STEPS, stop=("4",)), 2),
    "dvts": Dvts(6, STEPS, 3),
    "dvts, uneven": Dvts(7, STEPS, 3),
    "rebase": Rebase(6, STEPS, 0.3),
    "rebase of the paper": Rebase(6, STEPS, 0.3, "paper"),
    "particles": ParticleFiltering(6, STEPS, 1.0),
    "mcts": MonteCarloTreeSearch(6, 2, STEPS, 1.0),
    "mcts of one child": MonteCarloTreeSearch(5, 1, STEPS, 0.0),
    "forcing": BudgetForcing(4, 2, "w", THINKING, "e", 5),
    "no forcing": BudgetForcing(1, 0, "w", THINKING, "e", 5),
    "revision": Revision(6, 2, SAMPLED, "again"),
    "knockout": Judged(7, SAMPLED, 2, **JUDGED),
    "judged in threes": Judged(7, SAMPLED, 3, **JUDGED),
}
STRATEGY = pytest.mark.parametrize("strategy", EVERY.values(), ids=EVERY)


def encode(text):
    """Labels are one token; every other text is so many times 7."""
    return (11 + "ABC".index(text),) if text in tuple("ABC") else (7,) * len(text)


def decode(tokens):
    return "".join(map(str, tokens))


def babble(prefix, seed):
    """A step, a whole answer, something endless or nothing, as the prefix and the seed will have it."""
    lot = Random(hash((prefix, seed)))
    tokens = tuple(lot.choices(range(5), k=lot.randint(1, 5)))
    return lot.choice([(*tokens, STEP_END), (*tokens, STEP_END), (*tokens, END), tokens * 9, ()])


def judge(prefix, labels):
    """Log-probabilities of labels, some of them equal."""
    lot = Random(hash(prefix))
    return tuple(-float(lot.randint(1, 5)) for _ in labels)


@dataclass(frozen=True)
class Reader:
    """A scorer that is asked once an answer; its scores are the first label's log-probability, scaled."""

    sampling = Sampling(max_tokens=1, temperature=0.0, labels=(11, 12))

    def asks(self, _question, answer):
        return [Ask((5, *answer), self.sampling, self.scores)]

    def scores(self, completion):
        return (1 + completion.scores[0] / 6 if completion.scores else 0.0,)


class Shuffled:
    """A sampler that answers requests in an order of its own, one at a time."""

    def __init__(self, respond, order):
        self.respond, self.lot, self.waiting, self.running = respond, Random(order), [], None

    def __call__(self, prefix, sampling, seed):
        done = asyncio.get_running_loop().create_future()
        tokens = self.respond(prefix, seed)
        kept = tokens[: sampling.max_tokens]
        labels = judge(prefix, sampling.labels) if sampling.labels else ()
        reason = "stop" if kept == tokens else "length"
        self.waiting.append((done, Completion(kept, reason, scores=labels)))
        self.running = self.running or asyncio.ensure_future(self.answer())
        return done

    async def answer(self):
        while self.waiting:
            await asyncio.sleep(0)
            done, completion = self.waiting.pop(self.lot.randrange(len(self.waiting)))
            done.set_result(completion)
        self.running = None


def forest_of(source, scores, root):
    scoring = Scoring(Reader(), scores, root, "", lambda tokens: tokens)
    return Forest(PROMPT, source, root, read, (END,), scoring, encode, decode)


def told(forest):
    """All that a forest holds, in no order but that of what is accepted."""
    return forest.nodes, forest.accepted, forest.scores


def grown_by(strategy, num_slots, root="0/m/p", respond=babble):
    """A strategy's forest, and the engines that drew and scored it."""

    async def drawn():
        drawing, scoring = (
            Simulated(num_slots, 0.01, 0.001, respond, judge=judge).start() for _ in range(2)
        )
        scores = Pooled("scorer", "scored", {}, scoring, lambda _draw: None)
        forest = forest_of(Fresh(drawing), scores, root)
        await strategy(forest)
        for engine in (drawing, scoring):
            await engine.close()
        return forest, drawing.counters, scoring.counters

    return asyncio.run(drawn())


@STRATEGY
def test_traces_are_the_same_at_any_load_and_in_any_order_of_completion(strategy):
    forest, _, _ = grown_by(strategy, 1)
    for num_slots in (4, 64):
        assert told(grown_by(strategy, num_slots)[0]) == told(forest)

    async def shuffled(order):
        sampler = Shuffled(babble, order)
        other = forest_of(Fresh(sampler), Fresh(sampler), "0/m/p")
        await strategy(other)
        return other

    for order in range(5):
        assert told(asyncio.run(shuffled(order))) == told(forest)


@STRATEGY
@settings(max_examples=15)
@given(root=st.text("abc", max_size=5), num_known=st.floats(0, 1))
def test_a_replay_misses_nothing_of_what_was_drawn_and_what_was_lost_is_drawn_again(
    strategy, root, num_known
):
    """From a part of the pool, as of one whose run was killed: a replay tells, and drawing ends as if undisturbed."""

    async def pooled(known):
        draws = []
        sampler = Shuffled(babble, 0)
        sources = [Pooled("m", name, known, sampler, draws.append) for name in ("drawn", "scored")]
        forest = forest_of(*sources, root)
        await strategy(forest)
        return forest, draws

    def replayed(known):
        replays = [Replay(name, known) for name in ("drawn", "scored")]
        forest = forest_of(*replays, root)
        grow_at_once([(strategy, forest)])
        return forest

    forest, draws = asyncio.run(pooled({}))
    known = defaultdict(dict)
    for draw in draws:
        known[stream_of(draw.fingerprint, draw.stream)][draw.sample] = draw.completion
    assert told(replayed(known)) == told(forest)

    lot = Random(root)
    part = {
        stream: {at: said for at, said in samples.items() if lot.random() < num_known}
        for stream, samples in known.items()
    }
    num_lost = len(draws) - sum(map(len, part.values()))
    with pytest.raises(NotDrawn) if num_lost else nullcontext():
        replayed(part)
    resumed, drawn_again = asyncio.run(pooled(part))
    assert told(resumed) == told(forest)
    assert len(drawn_again) == num_lost


@STRATEGY
@settings(max_examples=25)
@given(root=st.text("abcd", max_size=6))
def test_bounds_hold_and_the_ledger_is_what_engines_processed(strategy, root):
    forest, drawing, scoring = grown_by(strategy, 4, root)
    bound, nodes = strategy.bound, forest.nodes.values()
    samples = [node for node in nodes if len(node.path) == 1 and not node.forced]
    assert len(samples) <= bound.num_samples
    assert {node.sampling for node in samples} <= {bound.sampling}
    assert len(nodes) <= bound.num_draws
    if bound.is_exact:
        assert len(nodes) == bound.num_draws
    assert bool(forest.scores) <= bound.is_scored
    longest = max(len(node.tokens) for node in nodes)
    assert longest - len(PROMPT) <= strategy.max_new_tokens
    assert drawing.num_requests == len(nodes)
    assert drawing.output_tokens == sum(len(node.completion.tokens) for node in nodes)
    assert drawing.prompt_tokens == sum(len(node.prefix) for node in nodes)
    # Equal answers are read once, and charged wherever they stand.
    read_once = {forest.generated(path): each.num_tokens for path, each in forest.scores.items()}
    assert scoring.prompt_tokens == sum(read_once.values())
    assert forest.accepted
    assert len(set(forest.accepted)) == len(forest.accepted)
    assert set(forest.accepted) <= set(forest.nodes)
    if bound.is_scored:
        assert set(forest.accepted) <= set(forest.scores)


SAME = {
    "nothing": lambda _prefix, _seed: (),
    "the end at once": lambda _prefix, _seed: (END,),
    "no answer": lambda _prefix, _seed: (0, END),
    "steps without end": lambda _prefix, _seed: (0, STEP_END),
    "one word for ever": lambda _prefix, _seed: (1,) * 99,
}


@STRATEGY
@pytest.mark.parametrize("respond", SAME.values(), ids=SAME)
def test_every_strategy_ends_where_the_model_says_always_the_same(strategy, respond):
    forest, _, _ = grown_by(strategy, 4, respond=respond)
    assert forest.accepted
    assert len(forest.nodes) <= strategy.bound.num_draws


def test_a_text_that_ends_answers_is_found_across_steps():
    """A model that goes on for ever: 3 and, a step later, 4 is the end of an answer."""
    steps = replace(STEPS, sampling=Sampling(max_tokens=2), max_tokens=9, stop=("34",))
    assert steps.next(0, 0).stop == steps.to_the_end(0).stop == ("34",)

    def counts(prefix, _seed):
        return tuple((prefix[-1] + 1 + i) % 5 for i in range(9))

    forest, _, _ = grown_by(Beam(2, steps, 2), 4, respond=counts)
    assert [forest.generated(path) for path in forest.accepted] == [(4, 0, 1, 2, 3, 4)] * 2


@pytest.mark.parametrize("score", [-2.5, 7.0, float("nan")])
def test_particles_are_not_weighed_by_what_is_no_probability(score):
    """Of a reward without bounds every particle would be as sure as any other."""
    level = Level([(0,), (1,)], [0.5, score], width=2, chance=0.5)
    with pytest.raises(UserError, match="wants probabilities for scores, and the scorer gives"):
        ParticleFiltering(2, STEPS).allot(level)


@pytest.mark.parametrize("kind", [Beam, Dvts, Rebase, ParticleFiltering])
def test_a_search_whose_answers_all_end_at_once_is_plain_sampling(kind):
    forest, _, _ = grown_by(kind(6, STEPS), 4, respond=lambda _prefix, seed: (seed % 5, END))
    assert forest.accepted == [(i,) for i in range(6)]
    assert len(forest.nodes) == 6


def test_of_a_level_of_equal_scores_the_first_go_on():
    steady, _, _ = grown_by(Beam(6, replace(STEPS, max_steps=2), 3), 4, respond=always(1, STEP_END))
    assert {path[0] for path in steady.nodes if len(path) == 2} <= set(range(6))
    level = Level([(0,), (1,), (2,)], [0.5, 0.5, 0.5], 3, 0.0)
    assert best_first(level, 2) == [2, 1, 0]
    assert fill(level, softmax(level.scores, 1.0)) == [1, 1, 1]
    assert systematic(softmax(level.scores, 1.0), 3, level.chance) == [1, 1, 1]


def always(*tokens):
    return lambda _prefix, _seed: tokens


SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(SCORES, st.integers(0, 20), st.floats(0.01, 3), st.floats(0, 0.999))
def test_the_width_is_filled_and_better_scores_get_no_less(scores, width, temperature, chance):
    level = Level([(at,) for at in range(len(scores))], scores, width, chance)
    share = softmax(scores, temperature)
    filled, by_lot = fill(level, share), systematic(share, width, chance)
    assert sum(filled) == sum(by_lot) == width
    ranked = [filled[at] for at in level.ranked]
    assert ranked == sorted(ranked, reverse=True)
    for given_at, part in zip(by_lot, share, strict=True):
        assert abs(given_at - width * part) < 1 + 1e-6
    assert sum(round(width * part) for part in share) <= 2 * width
    for branch in (1, 3):
        assert sum(best_first(level, branch)) == min(width, branch * len(scores))


def test_lots_are_fair():
    share, rounds = [0.05, 0.45, 0.5], 2000
    lots = [systematic(share, 5, (at + 0.5) / rounds) for at in range(rounds)]
    for at, part in enumerate(share):
        assert sum(each[at] for each in lots) / rounds == pytest.approx(5 * part, abs=0.01)


def test_rebase_allots_what_its_paper_says():
    """Shares .64, .24, .09, .03 of 4 and their rounding: section 3.2."""
    level = Level([(0,), (1,), (2,), (3,)], [0.9, 0.7, 0.5, 0.3], 4, 0.0)
    assert Rebase(4, STEPS, 0.2, "paper").allot(level) == [3, 1, 0, 0]
    assert Rebase(4, STEPS, 0.2, "exact").allot(level) == [3, 1, 0, 0]
    even = level._replace(scores=[0.5, 0.5, 0.5, 0.5], width=1)
    assert Rebase(4, STEPS, 0.2, "paper").allot(even) == [0, 0, 0, 0]
    assert Rebase(4, STEPS, 0.2, "exact").allot(even) == [1, 0, 0, 0]


def test_subtrees_know_nothing_of_each_other():
    level = Level([(0, 1), (1, 0), (1, 1), (4, 0)], [0.1, 0.2, 0.9, 0.0], 4, 0.0)
    assert Dvts(6, STEPS, 3).allot(level) == [0, 0, 3, 1]
    assert Beam(6, STEPS, 3).allot(level) == [0, 1, 3, 0]


# Theory. An answer is NUM_STEPS steps, each right with probability P_RIGHT by itself; the scorer knows which are.
P_RIGHT, NUM_STEPS, NUM_PROBLEMS = 0.4, 3, 300
ALL_STEPS = Steps(Sampling(max_tokens=2, stop_token_ids=(STEP_END,)), NUM_STEPS, 2 * NUM_STEPS)


def step_by_step(prefix, seed):
    is_last = prefix.count(STEP_END) == NUM_STEPS - 1
    word = 1 if Random(seed).random() < P_RIGHT else 2
    return word, END if is_last else STEP_END


async def knows(answer):
    return Score((float(2 not in answer),), len(answer))


def share_solved(strategy):
    """Of how many problems the best answer is right, and the most that chance makes of it (4 sigma)."""

    async def solved():
        engine = Simulated(64, 0.01, 0.0, step_by_step).start()
        forests = [
            Forest(PROMPT, Fresh(engine), f"0/m/{at}", read, (END,), knows)
            for at in range(NUM_PROBLEMS)
        ]
        await asyncio.gather(*(strategy(forest) for forest in forests))
        await engine.close()
        return [max(forest.scores[path].last for path in forest.accepted) for forest in forests]

    return sum(asyncio.run(solved())) / NUM_PROBLEMS


def at_least_one(probability, number):
    return 1 - (1 - probability) ** number


def beam_of_four_in_twos():
    """Of four children so many are right; two of them at most go on, and have two children each."""

    def right(num_children):
        return [
            comb(num_children, k) * P_RIGHT**k * (1 - P_RIGHT) ** (num_children - k)
            for k in range(num_children + 1)
        ]

    now = right(4)
    for _ in range(NUM_STEPS - 1):
        after = [0.0] * 5
        for num_right, probability in enumerate(now):
            for then, conditional in enumerate(right(2 * min(2, num_right))):
                after[then] += probability * conditional
        now = after
    return 1 - now[0]


@pytest.mark.parametrize(
    ("strategy", "theory"),
    [
        (ParallelSampling(8, Sampling(max_tokens=2), is_scored=True), at_least_one(P_RIGHT, 8)),
        (Beam(4, ALL_STEPS, 4), at_least_one(P_RIGHT, 4) ** 3),
        (Beam(4, ALL_STEPS, 2), beam_of_four_in_twos()),
        (Dvts(6, ALL_STEPS, 2), at_least_one(at_least_one(P_RIGHT, 2) ** 3, 3)),
        (Rebase(4, ALL_STEPS, 0.01), at_least_one(P_RIGHT, 4) ** 3),
        (ParticleFiltering(4, ALL_STEPS), at_least_one(P_RIGHT, 4) ** 3),
        # The best of three first steps, and one more step.
        (
            MonteCarloTreeSearch(1, 3, replace(ALL_STEPS, max_steps=2)),
            at_least_one(P_RIGHT, 3) * P_RIGHT,
        ),
    ],
)
def test_accuracy_under_a_perfect_scorer_is_that_of_theory(strategy, theory):
    interval = 4 * sqrt(theory * (1 - theory) / NUM_PROBLEMS)
    assert share_solved(strategy) == pytest.approx(theory, abs=interval)


def test_search_prunes_what_cannot_be_right_and_pays_for_it():
    forest, _, _ = grown_by(Beam(4, ALL_STEPS, 2), 4, respond=step_by_step)
    assert len(forest.nodes) == 4 * NUM_STEPS
    assert len(forest.accepted) == 4


def test_mcts_goes_on_where_it_has_been():
    """The rollouts of a small budget are the first of a large one."""
    few, many = (grown_by(MonteCarloTreeSearch(num, 2, STEPS, 1.0), 4)[0] for num in (3, 9))
    assert few.nodes.items() <= many.nodes.items()
    assert many.accepted[: len(few.accepted)] == few.accepted


def test_a_wider_search_shares_its_first_level():
    narrow, wide = (grown_by(Beam(width, STEPS, 2), 4)[0] for width in (4, 8))
    assert all(narrow.nodes[(i,)] == wide.nodes[(i,)] for i in range(4))


def test_forcing_takes_the_end_back_and_counts_what_it_puts_in_its_place():
    forest, _, _ = grown_by(BudgetForcing(1, 2, "ww", THINKING, "e", 5), 4, respond=always(1, END))
    assert [node.forced for node in forest.nodes.values()] == [(), (7, 7), (7, 7)]
    assert forest.accepted == [(0, 0, 0)]
    assert forest.generated((0, 0, 0)) == (1, 7, 7, 1, 7, 7, 1, END)


def test_thinking_that_is_too_long_is_ended_and_an_ended_thought_is_answered():
    strategy = BudgetForcing(1, 1, "w", replace(THINKING, max_tokens=4), "ee", 5)
    forest, _, _ = grown_by(strategy, 4, respond=always(1, 1, 1, 1, 1, 1))
    assert forest.generated(forest.accepted[0]) == (1,) * 4 + (7, 7) + (1,) * 5
    forest, _, _ = grown_by(strategy, 4, respond=always(1, STEP_END))
    # One wait, and what is said after the second end is the answer.
    assert forest.generated(forest.accepted[0]) == (1, 7, 1, STEP_END, 1, STEP_END)


@given(num_waits=st.integers(0, 6), root=st.text("abc", max_size=5))
@settings(max_examples=40)
def test_thinking_stays_within_its_budget(num_waits, root):
    forest, _, _ = grown_by(BudgetForcing(3, num_waits, "ww", THINKING, "e", 5), 4, root)
    for node in forest.nodes.values():
        is_thought = node.sampling.stop_token_ids == THINKING.stop_token_ids
        limit = THINKING.max_tokens + (0 if is_thought else len("e") + 5)
        assert len(forest.generated(node.path)) <= limit


def test_more_waits_go_on_from_fewer():
    few, many = (
        grown_by(BudgetForcing(3, num, "w", THINKING, "e", 5), 4, respond=always(1, END))[0]
        for num in (1, 3)
    )
    assert few.nodes.items() <= many.nodes.items()


def test_a_revision_sees_what_came_before_and_answers_anew():
    forest, _, _ = grown_by(Revision(4, 2, SAMPLED, "again"), 4, respond=always(1, 2, END))
    assert forest.accepted == [(0,), (1,), (0, 0), (1, 0)]
    assert forest.nodes[(1, 0)].prefix == (*PROMPT, 1, 2, *encode("again"))
    assert {forest.generated(path) for path in forest.accepted} == {(1, 2, END)}
    assert Revision(4, 4, SAMPLED, "again").bound.is_exact


def test_the_winner_of_a_knockout_is_the_one_that_the_judge_prefers():
    """A judge that likes the candidate with the largest first token, through every round."""

    def respond(_prefix, seed):
        return seed % 5, END

    def prefers(prefix, labels):
        starts = [at + 1 for at, token in enumerate(prefix) if token == 6]
        return tuple(float(prefix[at]) for at in starts[: len(labels)])

    async def judged(strategy):
        engine = Simulated(4, 0.01, 0.0, respond, judge=prefers).start()

        def marked(text):  # 6 stands before a candidate
            return (6,) if text.endswith(":") else encode(text)

        forest = Forest(PROMPT, Fresh(engine), "0/m/p", read, (END,), encode=marked)
        await strategy(forest)
        await engine.close()
        return forest

    for size in (2, 3):
        forest = asyncio.run(judged(Judged(7, SAMPLED, size, **JUDGED)))
        (winner,) = forest.accepted
        best = max(forest.generated((i,))[0] for i in range(7))
        assert forest.generated(winner)[0] == best
        assert len(forest.nodes) <= 7 + num_verdicts(7, size)


def test_a_judge_wants_labels_of_one_token_and_an_engine_that_tells_them():
    with pytest.raises(UserError, match="'ABC' is 3 tokens"):
        grown_by(Judged(2, SAMPLED, 2, **{**JUDGED, "labels": ("A", "ABC")}), 4)

    async def silent(_prefix, _sampling, _seed):
        return Completion((1,), "stop")

    forest = Forest(PROMPT, Fresh(silent), "0/m/p", read, (END,), encode=encode)
    with pytest.raises(UserError, match="probabilities of labels"):
        asyncio.run(Judged(2, SAMPLED, 2, **JUDGED)(forest))


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (Beam, {"width": 0}, "width is 0"),
        (Beam, {"branch": 9}, r"branch is 9; .* at most width \(6\)"),
        (Dvts, {"branch": 0}, "branch is 0"),
        (Rebase, {"temperature": 0.0}, "temperature is 0.0"),
        (ParticleFiltering, {"temperature": -1.0}, "temperature is -1.0"),
    ],
)
def test_impossible_searches_are_refused(kind, changed, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"width": 6, "steps": STEPS, **changed})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(STEPS, max_steps=0), "steps.max_steps is 0"),
        (
            lambda: replace(STEPS, sampling=Sampling(max_tokens=2, temperature=0.0)),
            "all children would be the same",
        ),
        (lambda: MonteCarloTreeSearch(0, 2, STEPS), "num_rollouts is 0"),
        (lambda: MonteCarloTreeSearch(2, 2, STEPS, -1.0), "exploration is -1.0"),
        (lambda: AdaptiveConsistency(4, SAMPLED, 0.5), "confidence is 0.5"),
        (lambda: EarlyStopping(4, SAMPLED, 5), "window is 5"),
        (lambda: Revision(4, 3, SAMPLED, ""), "num_chains is 3; it must divide"),
        (lambda: BudgetForcing(1, -1, "w", THINKING, "e", 5), "num_waits is -1"),
        (lambda: BudgetForcing(1, 1, "w", THINKING, "e", 0), "max_answer_tokens is 0"),
        (
            lambda: BudgetForcing(1, 1, "w", replace(THINKING, stop=("x",)), "e", 5),
            "thinking.stop is text",
        ),
        (lambda: Judged(4, SAMPLED, 4, **JUDGED), "group_size is 4"),
        (lambda: Judged(4, SAMPLED, 2, **{**JUDGED, "labels": ("A", "A", "B")}), "all differ"),
        (lambda: Judged(4, SAMPLED, 2, **{**JUDGED, "candidate": "{label}"}), "must hold {answer}"),
    ],
)
def test_impossible_settings_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def configured(name):
    register_resolvers()
    file = OmegaConf.load(conf_folder() / "strategy" / f"{name}.yaml")
    node = OmegaConf.create({"max_tokens": 38, "strategy": file})
    settings = OmegaConf.to_container(node, resolve=True)
    return of_kind(STRATEGIES, settings["strategy"], f"strategies.{name}")


def test_every_kind_has_a_file_and_every_file_is_a_strategy():
    files = sorted(file.stem for file in (conf_folder() / "strategy").glob("*.yaml"))
    kinds = {type(configured(name)) for name in files}
    assert kinds == set(STRATEGIES.values()) == {type(each) for each in EVERY.values()}
    assert {"top_p", "min_p", "best_of_n"} < set(files)
    assert configured("min_p").sampling.min_p > 0
    assert configured("best_of_n").is_scored


def test_the_strategy_that_contributing_shows_works():
    """The very example: it is a strategy of few lines that a configuration can name."""
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
    section = text.split("## Adding a strategy")[1].split("## ")[0]
    code = section.split("```python\n")[1].split("```")[0]
    shown = {"__name__": "shown"}
    exec(code, shown)
    written = [line for line in code.split("@dataclass")[1].splitlines() if line.strip()]
    assert len(written) <= 15
    node = {"kind": "third_opinion", "sampling": {"max_tokens": 8}}
    strategy = of_kind({"third_opinion": shown["ThirdOpinion"]}, node, "strategies.shown")
    assert {len(grown_by(strategy, 4, root)[0].accepted) for root in "abcdefgh"} == {2, 3}
    for root in "ab":
        assert told(grown_by(strategy, 1, root)[0]) == told(grown_by(strategy, 64, root)[0])
