"""The ledger: where the FLOPs of every model went, as stacked bars.

It knows what the parts are called and nothing of how they were counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.report.wording import percent, power, text


@dataclass(frozen=True)
class Part:
    """One way to spend FLOPs: its label and its colour, which light and dark share."""

    label: str
    colour: str


PARTS: Mapping[str, Part] = {
    "prefill": Part("prefill", "#2f6f9f"),
    "decode": Part("decode", "#17806f"),
    "forced": Part("forced tokens", "#8a7420"),
    "scorer": Part("scorer", "#7a5aa6"),
    "wasted": Part("wasted", "#b4470f"),
}
"""What was computed, in the order of the bars. What a prefix cache saved was not."""
SAVED = "cached"


@dataclass(frozen=True)
class Bar:
    """One model's FLOPs by part; `saved` were read from a prefix cache instead. `bill` is what its tokens cost, empty
    where they are not paid for."""

    model: str
    flops: Mapping[str, float]
    saved: float
    bill: str

    @property
    def total(self) -> float:
        return sum(self.flops.values())

    def share(self, part: str) -> float:
        """Of all that the model computed, 0 where it computed nothing."""
        return self.flops.get(part, 0.0) / self.total if self.total > 0 else 0.0


def bars(table: pd.DataFrame) -> list[Bar]:
    """One bar a row of the ledger (columns: model, and FLOPs by part); parts not known count as
    none."""
    return [
        Bar(
            model=str(row["model"]),
            flops={part: _known(row.get(part)) for part in PARTS},
            saved=_known(row.get(SAVED)),
            bill=_bill(row),
        )
        for row in table.to_dict("records")
    ]


def _bill(row: Mapping[str, object]) -> str:
    dollars = row.get("dollars")
    if not isinstance(dollars, float) or np.isnan(dollars):
        return ""
    return f"${dollars:,.2f} at the price of {row['price']}"


def _known(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else 0.0


def stacked(table: pd.DataFrame) -> str:
    """The bars as HTML with their legend."""
    shown = bars(table)
    used = [name for name in PARTS if any(bar.flops[name] for bar in shown)]
    legend = "".join(
        f'<li><i style="background:{PARTS[name].colour}"></i>{PARTS[name].label}</li>'
        for name in used
    )
    rows = "".join(_bar(bar, used) for bar in shown)
    return f'<ul class="key">{legend}</ul><div class="ledger">{rows}</div>'


def _bar(bar: Bar, used: list[str]) -> str:
    parts = "".join(
        f'<i style="width:{100 * bar.share(name):.3f}%;background:{PARTS[name].colour}" '
        f'title="{PARTS[name].label}: {percent(bar.share(name))}"></i>'
        for name in used
        if bar.flops[name]
    )
    spoken = ", ".join(f"{PARTS[name].label} {percent(bar.share(name))}" for name in used)
    beside = [f"{power(bar.saved)} saved"] if bar.saved else []
    beside += [text(bar.bill)] if bar.bill else []
    saved = "".join(f' <span class="saved">{each}</span>' for each in beside)
    return (
        f'<div class="ledger-row"><span class="who">{text(bar.model)}</span>'
        f'<span class="stack" role="img" aria-label="{spoken}">{parts}</span>'
        f'<span class="sum">{power(bar.total)}{saved}</span></div>'
    )
