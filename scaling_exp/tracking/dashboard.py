"""A finished run's dashboard in W&B: a saved workspace with a section for every question, and a report to hand around.

Panels show only what the run's cards log, so none of them is empty. All but `save` works without a login.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import wandb
import wandb_workspaces.reports.v2.interface as reports
import wandb_workspaces.workspaces as workspaces
from wandb_workspaces import expr

from scaling_exp.store import RunFolder
from scaling_exp.tracking import metrics
from scaling_exp.tracking.cards import CURVE, MODEL_FACTS
from scaling_exp.tracking.shown import Card, Content
from scaling_exp.types import UserError

MARK = "dashboard"
"""Where it was saved, in `dashboard.json` of the run's folder: saving again replaces it."""
IDS = ("workspace_id", "workspace_name", "report_id")
SERVER_SECONDS = 20
MOST_RUNS = 100
Panels = list[
    reports.LinePlot | reports.BarPlot | reports.MediaBrowser | reports.WeavePanelSummaryTable
]


@dataclass(frozen=True)
class Place:
    """Where runs lie in W&B: whose project, and which group of it."""

    entity: str
    project: str
    group: str

    @classmethod
    def of(cls, folder: RunFolder, config: Mapping[str, Any], options: Mapping[str, str]) -> Place:
        """Where the run that has this configuration was shown; `options` may name entity and project.

        Raises UserError when it was not shown in W&B and no project is named.
        """
        tracking = config.get("tracking", {})
        project = options.get("project") or tracking.get("project")
        if not project:
            raise UserError(
                f"{folder.path} was not tracked with W&B: run its command again with tracking=online or offline, "
                "or name a project with project="
            )
        return cls(options.get("entity", ""), project, tracking.get("group") or folder.path.name)


@dataclass(frozen=True)
class Shown:
    """A run's cards, as panels."""

    cards: Sequence[tuple[Card, Content]]

    @cached_property
    def metrics(self) -> frozenset[str]:
        """Names of all numbers that are logged."""
        points = (name for _, content in self.cards for point in content.points for name in point)
        summaries = (name for _, content in self.cards for name in content.summary)
        return frozenset((*points, *summaries))

    @property
    def report(self) -> tuple[Card, Content]:
        return next(each for each in self.cards if each[0].job_type == "report")

    @property
    def curves(self) -> list[Card]:
        return [card for card, _ in self.cards if card.job_type == "curve"]

    def distinct(self, name: str, curves: Sequence[Card]) -> list[str]:
        """What the curves are of: their models, strategies or selectors."""
        return list(dict.fromkeys(str(card.config[name]) for card in curves))

    def sections(self) -> dict[str, Panels]:
        """Panels by the question that they answer; one without an answer is left out."""
        every = {
            "Accuracy against cost": self.accuracy(),
            "Frontier": self.frontiers(),
            "Exchange rate": self.exchange(),
            "Engines": self.engines(),
            "Report": self.media(),
        }
        return {title: panels for title, panels in every.items() if panels}

    def accuracy(self) -> Panels:
        """A panel for every cost that is known, the FLOPs of a query first; a line for every curve."""
        facts = {metrics.log10_cost(name) for name in MODEL_FACTS}
        costs = {name for name in self.metrics if name.startswith(metrics.log10_cost(""))} - facts
        axes = costs | ({metrics.SAMPLES} & self.metrics)
        return [
            reports.LinePlot(
                title=f"accuracy against {_plain(axis)}",
                x=axis,
                y=[metrics.ACCURACY],
                range_y=(0, 1),
                max_runs_to_show=MOST_RUNS,
            )
            for axis in sorted(axes, key=lambda name: (name != metrics.COMPUTE, name))
        ]

    def accuracy_of(self, model: str) -> reports.LinePlot:
        """Accuracy of one model's curves against the compute of a query, with intervals."""
        mine = [card for card in self.curves if card.config["model"] == model]
        title = f"{model}: accuracy against {_plain(metrics.COMPUTE)}"
        return self._with_ends(title, metrics.COMPUTE, metrics.ACCURACY, mine)

    def frontiers(self) -> Panels:
        """What nothing beats, for every number of queries over a lifetime."""
        card, _ = self.report
        groups = {axis: axis.rpartition("/")[0] for axis in card.axes.values()}
        return [
            self._with_ends(
                f"{_plain(group)}: accuracy against log10 total flops",
                axis,
                f"{group}/estimate",
                [card],
            )
            for axis, group in groups.items()
        ]

    def exchange(self) -> Panels:
        """Of every selector whose rate is known, the rate and its ends."""
        rates = {
            selector: [
                name
                for end in ("low", "estimate", "high")
                if (name := metrics.exchange(selector, end)) in self.metrics
            ]
            for selector in self.distinct("selector", self.curves)
        }
        return [
            reports.BarPlot(
                title=f"factor of pre-training that ten times the inference replaces, by {selector}",
                metrics=[*names],
            )
            for selector, names in rates.items()
            if names
        ]

    def engines(self) -> Panels:
        """A run while it draws."""
        by_model = [metrics.throughput(model) for model in self.distinct("model", self.curves)]
        wanted = {
            "occupancy": [metrics.OCCUPANCY],
            "output tokens a second": [metrics.THROUGHPUT],
            "output tokens a second by model": by_model,
            "requests in flight": [metrics.IN_FLIGHT],
            "replicas": [metrics.REPLICAS],
            "samples": [metrics.DRAWS],
            "requests refused": [metrics.REFUSED],
        }
        return [
            reports.LinePlot(
                title=title, x=metrics.SECONDS, y=[*known], title_x="seconds of drawing"
            )
            for title, names in wanted.items()
            if (known := [name for name in names if name in self.metrics])
        ]

    def media(self) -> Panels:
        """The report's page, its figures and its tables."""
        _, content = self.report
        keys = [list(each) for each in (content.pages, content.figures) if each]

        def page() -> reports.Layout:  # one for every panel: a grid moves them
            return reports.Layout(w=24, h=20)

        return [
            *(reports.MediaBrowser(media_keys=each, layout=page()) for each in keys),
            *(
                reports.WeavePanelSummaryTable(table_name=name, layout=page())
                for name in content.tables
            ),
        ]

    def _with_ends(
        self, title: str, x: str, estimate: str, cards: Sequence[Card]
    ) -> reports.LinePlot:
        """An estimate, and dashed the ends of its interval."""
        group = estimate.rpartition("/")[0]
        ends = [name for end in ("low", "high") if (name := f"{group}/{end}") in self.metrics]
        return reports.LinePlot(
            title=title,
            x=x,
            y=[estimate, *ends],
            line_marks={f"{card.id}:{name}": "dashed" for card in cards for name in ends},
            max_runs_to_show=MOST_RUNS,
        )


def _plain(metric: str) -> str:
    """A metric as a title says it."""
    return metric.rpartition("/")[2].replace("_", " ")


def workspace(shown: Shown, place: Place) -> workspaces.Workspace:
    """A saved view of the group's runs. The runs of a sweep are one line with its range for every curve."""
    run_id = shown.cards[0][0].run_id
    return workspaces.Workspace(
        entity=place.entity,
        project=place.project,
        name=place.group,
        sections=[
            workspaces.Section(name=title, panels=[*panels], is_open=True)
            for title, panels in shown.sections().items()
        ],
        settings=workspaces.WorkspaceSettings(max_runs=MOST_RUNS),
        runset_settings=workspaces.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == place.group),
            groupby=[] if place.group == run_id else [expr.Config(name) for name in CURVE],
        ),
    )


def report(shown: Shown, place: Place) -> reports.Report:
    """The verdict, every model by itself with a set of runs for every strategy, and the panels of the workspace."""
    card, content = shown.report

    def grid(panels: Panels, *runsets: reports.Runset) -> reports.PanelGrid:
        return reports.PanelGrid(panels=[*panels], runsets=[*runsets])

    def runs(name: str, **config: str) -> reports.Runset:
        wanted = [expr.Config(key) == value for key, value in config.items()]
        mine = expr.And(expr.Metric("Group") == place.group, *wanted)
        return reports.Runset(place.entity, place.project, name, filters=mine)

    def by_strategy(model: str) -> list[reports.Runset]:
        mine = [each for each in shown.curves if each.config["model"] == model]
        strategies = shown.distinct("strategy", mine)
        return [runs(strategy, model=model, strategy=strategy) for strategy in strategies]

    blocks: list[reports.BlockTypes] = [reports.P(str(content.summary["verdict"]))]
    for model in shown.distinct("model", shown.curves):
        blocks += [reports.H2(model), grid([shown.accuracy_of(model)], *by_strategy(model))]
    for title, panels in shown.sections().items():
        blocks += [reports.H2(title), grid(panels, runs(place.group))]
    return reports.Report(place.project, place.entity, card.run_id, blocks=blocks, width="fluid")


def spec(shown: Shown, place: Place) -> str:
    """Both as the JSON that W&B keeps of them."""
    here = replace(place, entity="")  # of an entity, W&B would be asked
    parts = {"workspace": workspace(shown, here), "report": report(shown, here)}
    views = {name: part._to_model().spec for name, part in parts.items()}
    told = {
        name: view.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, view in views.items()
    }
    return json.dumps(told, indent=2) + "\n"


def save(shown: Shown, place: Place, folder: RunFolder) -> dict[str, str]:
    """Save both, in place of what was saved for this run before; the addresses of the two.

    `place.entity` may be empty: then it is the one of the login. Raises UserError without a login, without the project,
    or when the server does not answer.
    """
    try:
        entity = place.entity or str(wandb.Api(timeout=SERVER_SECONDS).default_entity)
        return _saved(shown, replace(place, entity=entity), folder)
    except (wandb.Error, ValueError) as error:
        raise UserError(
            f"W&B has no dashboard of this run: {error} (output=FILE writes it without W&B)"
        ) from error


def _saved(shown: Shown, place: Place, folder: RunFolder) -> dict[str, str]:
    view, page = workspace(shown, place), report(shown, place)
    before = folder.path / f"{MARK}.json"
    if before.is_file():
        ids = json.loads(before.read_text())
        # What W&B knows them by; of a workspace the library can only read these from a server.
        view._internal_id, view._internal_name, page.id = (ids[name] for name in IDS)
    view.save()
    page.save()
    ids = zip(IDS, (view._internal_id, view._internal_name, page.id), strict=True)
    urls = {"workspace": view.url, "report": page.url}
    folder.write_json(MARK, {**urls, **dict(ids)})
    return urls
