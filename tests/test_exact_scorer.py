"""The task's grader as a scorer: verdicts are grades, asked for once, given while others draw, and charged nothing."""

import asyncio
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from careless import ENDS, HANGS, TEARS, Even
from hydra import compose, initialize_config_dir
from test_experiment import FirstTerm, InProcess, experiment, keys, respond, tables

from scaling_exp import experiment as recipe
from scaling_exp import scoring
from scaling_exp.analysis.pricing import Pricing, Tariff
from scaling_exp.config import experiment_from, register_resolvers
from scaling_exp.engines.simulated import Simulated
from scaling_exp.experiment import check_limits, run, survey_pool
from scaling_exp.grading import Grading
from scaling_exp.locations import conf_folder
from scaling_exp.models import HostedModel
from scaling_exp.report import analysed
from scaling_exp.schema import ConfigError
from scaling_exp.scorers import Verifier
from scaling_exp.spending import Limits
from scaling_exp.state import State
from scaling_exp.strategies import ParallelSampling
from scaling_exp.strategies.tree import Beam, MonteCarloTreeSearch, Rebase, Steps
from scaling_exp.tasks.arithmetic import Level, SumsAndProducts
from scaling_exp.tasks.graders import GRADERS
from scaling_exp.types import Problem, Sampling, UserError

SAMPLED = Sampling(max_tokens=8)


class Evens(FirstTerm):
    """The same problems; what is right of their first term is another matter."""

    grader = Even()


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr(recipe, "redraw", lambda folder: (None, folder.path / "report.html"))


def verified(store, **changes):
    """Best-of-N and searches by the verdicts of a task's grader."""
    steps = Steps(Sampling(max_tokens=3), max_steps=4, max_tokens=8)
    strategies = {
        "best_of": ParallelSampling(4, SAMPLED, is_scored=True),
        "beam": Beam(4, steps, branch=2),
        "rebase": Rebase(4, steps),
        "mcts": MonteCarloTreeSearch(3, 2, steps),
    }
    task = changes.get("task", Evens(6, 1, 67, {"easy": Level(3, 1.8)}))
    scorer = Verifier(grader=task.grader)
    return experiment(store, **{"strategies": strategies, "task": task, "scorer": scorer} | changes)


def verdicts(store):
    """What the pool holds of graders."""
    rows = [
        row
        for file in sorted(Path(store).glob("*/draws/*.parquet"))
        for row in pq.read_table(file).to_pylist()
        if row["model"] == "exact"
    ]
    assert all(row["tokens"] == [] and row["num_cached_tokens"] == 0 for row in rows)
    return rows


def test_a_score_is_the_grade_of_what_is_said_so_far_and_costs_nothing(tmp_path):
    made = verified(tmp_path)
    run(made, "command")
    samples = made.folder.read_table("samples").to_pandas()
    assert (samples["score"] == samples["is_correct"]).all()
    assert 0 < samples["score"].mean() < 1
    traces = made.folder.read_table("traces").to_pandas()
    assert (traces["num_scored_tokens"].dropna() == 0).all()
    assert traces.query("strategy != 'best_of' and not is_accepted")["score"].notna().any()
    (ledger,) = {tuple(analysed(made.folder)[0].ledger["scorer"])}
    assert ledger == (0.0, 0.0)
    engines = made.folder.read_table("engines").to_pandas().query("role == 'scorer'")
    assert engines["num_draws"].sum() == len(verdicts(tmp_path))
    assert engines["busy_seconds"].sum() > 0


def test_nothing_is_graded_twice_for_its_score_and_nothing_is_missing_after(tmp_path):
    made = verified(tmp_path)
    run(made, "command")
    before, num_started = tables(made), made.cluster.num_started
    asked = [(row["root"], bytes(row["prefix"])) for row in verdicts(tmp_path)]
    assert len(asked) == len(set(asked)) > 0
    assert not any(each.problems_to_draw for each in survey_pool(made))
    run(made, "command")
    assert made.cluster.num_started == num_started
    assert all(table.equals(before[name]) for name, table in tables(made).items())


def test_another_version_another_answer_and_another_scorer_are_asked_anew(tmp_path):
    made = verified(tmp_path)
    run(made, "command")
    num_before = len(verdicts(tmp_path))
    newer = Verifier(grader=replace(made.task.grader, version="even 2"))
    assert newer.fingerprint != made.scorer.fingerprint
    again = replace(made, scorer=newer)
    assert again.run_id != made.run_id
    run(again, "command")
    assert len(verdicts(tmp_path)) == 2 * num_before

    class Corrected(Evens):
        def problems(self):
            return [replace(each, answer="0 0") for each in super().problems()]

    corrected = verified(tmp_path, task=Corrected(6, 1, 67, {"easy": Level(3, 1.8)}))
    run(corrected, "command")
    assert len(verdicts(tmp_path)) == 3 * num_before


def test_what_cannot_be_read_is_not_asked(tmp_path):
    class Mute(Evens):
        def read(self, _text):
            return None

    made = verified(tmp_path, task=Mute(6, 1, 67, {"easy": Level(3, 1.8)}))
    run(made, "command")
    assert verdicts(tmp_path) == []
    assert set(made.folder.read_table("samples")["score"].to_pylist()) == {0.0}


def test_others_go_on_while_an_answer_is_graded():
    """A hanging answer and a quick one asked together: the quick verdict is there long before the other is given up."""
    problem = Problem("p", "?", "", "all")

    async def asked():
        grader = Even(seconds=3.0, is_careless=True)
        service = await scoring.start(Verifier(grader=grader), None)
        give = service.on(problem)
        hanging, quick = (
            asyncio.ensure_future(give(prefix, Sampling(1), 0))
            for prefix in (b"hash " + answer.encode() for answer in (HANGS, "4"))
        )
        verdict = await quick
        assert not hanging.done()
        assert service.num_in_flight == 1
        assert service.counters.busy_seconds > 0
        hanging.cancel()
        await asyncio.wait([hanging])
        # Its process is free again before its time is over.
        assert (await give(b"hash 5", Sampling(1), 0)).scores == (0.0,)
        assert service.counters.num_requests == 3
        await service.close()
        return verdict

    assert asyncio.run(asked()).scores == (1.0,)


def test_what_ends_a_grader_is_no_right_answer_and_a_mistake_in_one_is_told(tmp_path):
    class Careless(Evens):
        grader = Even(is_careless=True)

    made = verified(
        tmp_path,
        task=Careless(2, 1, 67, {"easy": Level(3, 1.8)}),
        strategies={"best_of": ParallelSampling(4, SAMPLED, is_scored=True)},
        engine=Simulated(16, 0.01, 0.001, lambda _, seed: ((13, 17, 2, 3)[seed % 4],)),
    )
    run(made, "command")
    samples = made.folder.read_table("samples").to_pandas()
    by_answer = samples.groupby("answer")[["score", "outcome"]].first().to_dict()
    assert by_answer["score"] == {HANGS: 0.0, ENDS: 0.0, "2": 1.0, "3": 0.0}
    assert by_answer["outcome"] == {
        **dict.fromkeys((HANGS, ENDS), "unparsable"),
        "2": "correct",
        "3": "wrong",
    }

    class Torn(Careless):
        def read(self, _text):
            return TEARS

    with pytest.raises(UserError, match="line 3: no torn of easy-"):
        run(replace(made, task=Torn(2, 1, 67, {"easy": Level(3, 1.8)})), "command")


def test_a_worker_with_another_version_of_the_grader_is_refused():
    verifier = Verifier(grader=Even())
    assert verifier.version == "even 1"
    sent = pickle.loads(pickle.dumps(verifier))
    object.__setattr__(sent, "grader", replace(sent.grader, version="even 2"))
    with pytest.raises(
        UserError, match="'even 2' on a worker and 'even 1' where the run was started"
    ):
        asyncio.run(scoring.start(sent, None))


def test_a_hosted_model_is_verified_and_its_verdicts_have_no_price(tmp_path):
    """Its tokens are bytes, and its answers have no size here."""
    models = tuple(HostedModel(name, name, provider="somebody") for name in ("small", "large"))
    engine = Simulated(16, 0.01, 0.001, lambda *at: tuple(f"{respond(*at)[0]} and".encode()))
    steps = Steps(Sampling(max_tokens=3), max_steps=2, max_tokens=8)
    strategies = {
        "best_of": ParallelSampling(4, SAMPLED, is_scored=True),
        "beam": Beam(4, steps, branch=2),
    }
    made = verified(tmp_path, models=models, engine=engine, strategies=strategies)
    tariffs = {name: Tariff(input=1.0, output=1.0) for name in ("small", "large")}
    analysis = replace(made.analysis, pricing=Pricing(tariffs=tariffs))
    made = replace(made, analysis=analysis, limits=Limits(dollars=1e6), cluster=InProcess(1))
    check_limits(made)
    run(made, "command")
    samples = made.folder.read_table("samples").to_pandas()
    assert (samples["score"] == samples["is_correct"]).all()
    assert samples["score"].mean() > 0
    num_drawn = len(keys(tmp_path)) - len(verdicts(tmp_path))
    assert State.read(made.folder).spent.num_draws == num_drawn


@pytest.mark.parametrize(
    ("knows", "told"), [("", None), ("the tests", "knows the tests of every problem: a bound")]
)
def test_a_verdict_says_when_the_scorer_knows_more_than_the_question_tells(tmp_path, knows, told):
    class Knowing(Evens):
        grader = Even(knows=knows)

    made = verified(
        tmp_path,
        task=Knowing(12, 1, 67, {"easy": Level(3, 1.8)}),
        strategies={"best_of": ParallelSampling(4, SAMPLED, is_scored=True)},
    )
    run(made, "command")
    last = analysed(made.folder)[0].sentences[-1]
    assert told in last if told else "grader" not in last


def test_every_grader_says_what_it_knows():
    assert {name: kind.knows for name, kind in GRADERS.items()} == {
        **dict.fromkeys(GRADERS, "the right answer"),
        "countdown": "",
        "program": "the tests",
    }


def composed(*overrides):
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return experiment_from(
            compose("config", ["+experiment=search", "scorer=exact", *overrides])
        )


def test_a_configuration_names_it_and_its_grader_is_the_tasks():
    made = composed("task=countdown")
    assert made.scorer == Verifier(grader=made.task.grader)
    assert made.scorer.caveat == ""
    assert "knows the right answer" in composed().scorer.caveat
    with pytest.raises(ConfigError, match=r"scorer\.grader is"):
        composed("+scorer.grader={kind: exact}")
    with pytest.raises(ConfigError, match=r"there is no 'path'"):
        composed("+scorer.path=somewhere")


def test_quick_grades_start_no_process():
    with Grading(composed("task=countdown").task.grader) as grading:
        grading.start()
        assert grading._pool is None


@pytest.mark.slow
def test_for_real_verdicts_are_given_in_processes_beside_vllm(tmp_path, two_smallest, command_line):
    file, grader = tmp_path / "products.jsonl", tmp_path / "product.py"
    rows = [
        {"question": each.prompt, "answer": each.answer.split()[1]}
        for each in SumsAndProducts(10, 1, 67, {"easy": Level(3, 1.8)}).problems()
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    grader.write_text("def grade(answer, problem):\n    return answer == problem.answer\n")
    command = (
        *("run", "name=verified", f"store={tmp_path / 'runs'}", "max_tokens=38"),
        *("+ladder=arithmetic", f"ladder.path={two_smallest}", "ladder.sizes=null"),
        *(
            "+task=file",
            f"task.source.path={file}",
            r"++task.reader={kind: pattern, pattern: '= (\d+) \.'}",
        ),
        *(f"++task.grader={{kind: function, path: {grader}}}", "tracking=disabled"),
        *("+scorer=exact", "scorer.step.stop_token_ids=[67,68,70]", "analysis.num_bootstrap=100"),
        *("+strategy@strategies.best_of=best_of_n", "strategies.best_of.num_samples=8"),
        *("+strategy@strategies.beam=beam", "strategies.beam.width=4"),
    )
    done = command_line(*command, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "knows the right answer of every problem: a bound" in done.stdout
    (folder,) = (each.parent for each in (tmp_path / "runs").glob("*/samples.parquet"))
    samples = pq.read_table(folder / "samples.parquet").to_pandas()
    assert (samples["score"] == samples["is_correct"]).all()
    assert samples["score"].any()
    engines = pq.read_table(folder / "engines.parquet").to_pandas().query("role == 'scorer'")
    asked = [(row["root"], bytes(row["prefix"])) for row in verdicts(tmp_path / "runs")]
    assert engines["num_draws"].sum() == len(asked) == len(set(asked)) > 0
    assert engines["busy_seconds"].sum() > 0
    num_drawn = len(keys(tmp_path / "runs"))
    again = command_line(*command)
    assert again.returncode == 0, again.stderr
    assert len(keys(tmp_path / "runs")) == num_drawn
    assert samples.equals(pq.read_table(folder / "samples.parquet").to_pandas())
