"""A scorer's engine is as observable as those of the models beside it, and what it cannot read is refused."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import SHIPPED
from test_experiment import (
    experiment,
    no_report,  # noqa: F401 - a fixture, used by every test
    scored,
)
from test_status import told

from scaling_exp.analysis.ledger import seconds_per_output_token
from scaling_exp.analysis.pricing import Pricing
from scaling_exp.experiment import run
from scaling_exp.models import Model
from scaling_exp.plan import plan
from scaling_exp.report import health
from scaling_exp.report.reading import read_measured
from scaling_exp.scorers import Labels
from scaling_exp.state import State
from scaling_exp.types import UserError

SHORT = Labels(str(SHIPPED / "4K-1.0M"), good="1", bad="0", max_model_len=12)


@pytest.fixture
def made(tmp_path):
    made = scored(tmp_path)
    run(made, "the command")
    return made


def scores_drawn(made):
    """Tokens that were read for each."""
    parts = [pq.read_table(file) for file in Path(made.store).glob("*/draws/*.parquet")]
    draws = [row for part in parts for row in part.select(["model", "prefix"]).to_pylist()]
    return [len(each["prefix"]) for each in draws if each["model"] == "scorer"]


def test_a_scorer_has_a_row_beside_every_model_that_a_replica_held(made):
    engines = made.folder.read_table("engines").to_pandas()
    generators, scorers = (engines[engines["role"] == role] for role in ("generator", "scorer"))
    assert set(generators["model"]) == {each.name for each in made.models}
    assert set(scorers["model"]) == {"scorer"}
    assert scorers["wall_seconds"].tolist() == generators["wall_seconds"].tolist()
    read = scores_drawn(made)
    assert scorers["num_draws"].sum() == len(read)
    assert scorers["prompt_tokens"].sum() == sum(read)
    assert scorers["output_tokens"].isna().all()
    assert scorers["occupancy"].between(0, 1).all()
    assert (generators["num_draws"] > 0).all()
    assert set(seconds_per_output_token(engines, 1)) == set(generators["model"])


def test_its_record_is_no_models_and_counts_what_it_did_beside_all(made):
    manifest = made.folder.read_manifest()
    assert set(manifest["generation"]) == {each.name for each in made.models}
    read = scores_drawn(made)
    record = manifest["scoring"]["scorer"]
    assert (record["num_draws"], record["prompt_tokens"]) == (len(read), sum(read))
    assert "tokens_per_second" not in record
    assert all(0 < each["scorer_share"] < 1 for each in manifest["generation"].values())


def test_a_run_without_a_scorer_tells_of_none(tmp_path):
    made = experiment(tmp_path)
    run(made, "the command")
    assert set(made.folder.read_table("engines")["role"].to_pylist()) == {"generator"}
    manifest = made.folder.read_manifest()
    assert manifest["scoring"] == {}
    assert {each["scorer_share"] for each in manifest["generation"].values()} == {None}
    assert State.read(made.folder).scorer is None


def test_status_tells_what_a_scorer_read(made):
    text, _ = told(made.folder.path, Path(made.store))
    read = scores_drawn(made)
    rows = [line.split() for line in text.splitlines()]
    (row,) = (row for row in rows if row[:1] == ["scorer"] and row[1:2] != ["scores"])
    assert row[1:3] == [f"{len(read):,}", f"{sum(read):,}"]


def test_the_report_shows_both_and_of_an_old_run_what_it_told(made):
    manifest, names = made.folder.read_manifest(), [each.name for each in made.models]
    samples = made.folder.read_table("samples").to_pandas()
    page = health.health(manifest, samples, names)
    assert page.count('<td class="text">generator</td>') == 2
    assert page.count('<td class="text">scorer</td>') == 1
    assert "Tokens read" in page
    for record in manifest["generation"].values():
        for later in ("prompt_tokens", "busy_share", "scorer_share"):
            del record[later]
    del manifest["scoring"]
    old = health.health(manifest, samples, names)
    assert not any(later in old for later in ("Tokens read", "Role", "Busy"))


def test_a_scorer_that_cannot_read_the_longest_answer_is_refused_before_anything_is_drawn(tmp_path):
    made = scored(tmp_path, scorer=SHORT)
    for refused in (plan, lambda made: run(made, "the command")):
        with pytest.raises(UserError, match=r"scorer\.path .* takes 12 tokens, and a question is"):
            refused(made)
    assert made.cluster.num_started == 0
    run(scored(tmp_path, scorer=replace(SHORT, max_model_len=64)), "the command")


def test_what_is_too_long_only_in_the_scorers_words_ends_the_run_at_that_draw(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(Model, "vocabulary", property(lambda model: {model.name: 0}))
    made = scored(tmp_path, scorer=SHORT)
    with pytest.raises(
        UserError, match=r"scorer\.path: .* takes 12 tokens, and to score an answer"
    ):
        run(made, "the command")
    assert made.cluster.num_started


def test_tables_of_a_run_of_before_are_read(made):
    folder = made.folder
    before = read_measured(folder, folder.read_manifest())
    engines, samples = (folder.read_table(name) for name in ("engines", "samples"))
    is_generator = [role == "generator" for role in engines["role"].to_pylist()]
    folder.write_table("engines", engines.filter(is_generator).drop(["role", "prompt_tokens"]))
    folder.write_table("samples", samples.drop(["num_scored_tokens"]))
    manifest = folder.read_manifest()
    del manifest["scoring"]
    old = read_measured(folder, manifest)
    assert old.seconds_per_output_token == before.seconds_per_output_token
    for now, then in zip(*(each.attempts(Pricing(), 16) for each in (before, old)), strict=True):
        assert set(now.scoring) == set(then.scoring)
