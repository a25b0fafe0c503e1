"""Weights & Biases as a view of a run: the report's curves, one W&B run each. Never the source of anything.

A W&B failure costs a run nothing but a warning. Offline runs cannot be resumed, so a curve is logged again as a whole
under the same id whenever the run is repeated.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import log10
from pathlib import Path as FilePath
from typing import Any, Literal

import pandas as pd

from scaling_exp.analysis import Analysis


@dataclass(frozen=True)
class Tracking:
    """Where curves are shown: offline (files under the run), online, or disabled."""

    mode: Literal["offline", "online", "disabled"]
    project: str

    def log(self, run_folder: FilePath, analysis: Analysis, config: Mapping[str, Any]) -> int:
        """Log every curve; the number logged. Warns, and goes on, when W&B fails."""
        if self.mode == "disabled":
            return 0
        try:
            return self._log(run_folder, analysis, config)
        except Exception as error:  # noqa: BLE001 - W&B is a view: whatever goes wrong in it must not cost the run
            warnings.warn(f"W&B tracking failed, the run is not affected: {error}", stacklevel=2)
            return 0

    def _log(self, run_folder: FilePath, analysis: Analysis, config: Mapping[str, Any]) -> int:
        curves = analysis.curves.loc[analysis.curves["level"] == "all"]
        keys = ["model", "strategy", "selector"]
        num_logged = 0
        for names in pd.DataFrame(curves[keys]).drop_duplicates().to_dict("records"):
            mine = (curves[keys] == pd.Series(names)).all(axis=1)
            self._log_curve(run_folder, names, curves.loc[mine], config)
            num_logged += 1
        self._log_verdict(run_folder, analysis, config)
        return num_logged

    def _log_curve(
        self,
        run_folder: FilePath,
        names: Mapping[Hashable, str],
        curve: pd.DataFrame,
        config: Mapping[str, Any],
    ) -> None:
        label = "/".join(names.values())
        own = {str(key): name for key, name in names.items()}
        run = self._start(run_folder, label, "curve", {**own, **config})
        run.define_metric("compute/log10_inference_flops")
        run.define_metric("accuracy/*", step_metric="compute/log10_inference_flops")
        for point in curve.sort_values("inference_flops").to_dict("records"):
            run.log(
                {
                    "k": point["k"],
                    "accuracy/value": point["accuracy"],
                    "accuracy/low": point["accuracy_low"],
                    "accuracy/high": point["accuracy_high"],
                    "compute/inference_flops": point["inference_flops"],
                    "compute/log10_inference_flops": log10(point["inference_flops"]),
                    "compute/log10_pretraining_flops": log10(point["pretraining_flops"]),
                    "compute/output_tokens": point["output_tokens"],
                }
            )
        run.finish()

    def _log_verdict(
        self, run_folder: FilePath, analysis: Analysis, config: Mapping[str, Any]
    ) -> None:
        run = self._start(run_folder, "verdict", "report", dict(config))
        run.summary["verdict"] = " ".join(analysis.sentences)
        run.finish()

    def _start(
        self, run_folder: FilePath, label: str, job_type: str, config: dict[str, Any]
    ) -> Any:
        import wandb

        return wandb.init(
            project=self.project,
            group=run_folder.name,
            job_type=job_type,
            name=label,
            id=sha256(f"{run_folder.name}/{label}".encode()).hexdigest()[:16],
            config=config,
            dir=str(run_folder),
            mode="offline" if self.mode == "offline" else "online",
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_disable_stats=True,
                x_disable_meta=True,
                disable_git=True,
                disable_code=True,
            ),
        )
