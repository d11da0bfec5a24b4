"""The numbers of a forecast of classes: the probability of a rise, or those of ten deciles.

Owns their words and cells. Never touches HTML or the store.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from tasks.report.charts import inline_chart
from tasks.report.class_charts import Columns, Divided, columns_mark
from tasks.report.class_tables import (
    class_names,
    class_scores,
    edge_texts,
    probability_table,
    score_of,
)
from tasks.report.rises import Rises
from tasks.report.run_view import Row
from tasks.report.score_tables import LSTM, Cell, Leads, Table
from tasks.report.typography import THIN, percent, plural


@dataclass(frozen=True)
class DirectionFigures:
    """The probability of a rise, how often it rose, and what the LSTM scored before the gate.

    `always`: the accuracy of the default baseline, which always calls the same side.
    """

    row: Row
    scores: tuple[Row, ...]
    rises: Rises | None
    rise: Cell
    usual: Cell
    brier: Cell
    accuracy: Cell
    always: Cell
    auc: Cell

    @classmethod
    def of(cls, row: Row, scores: Sequence[Row], rises: Rises | None) -> Self:
        """The figures of one instrument."""
        baseline = scores[0]["baseline"] if scores else ""
        known = rises is not None and rises.steps > 0
        return cls(
            row=row,
            scores=tuple(scores),
            rises=rises if known else None,
            rise=Cell(percent(row["probability_up"], 1), row["probability_up"]),
            usual=Cell(percent(rises.share, 1), rises.share) if rises and known else Cell.absent(),
            brier=score_of(scores, LSTM, "brier"),
            accuracy=score_of(scores, LSTM, "accuracy"),
            always=score_of(scores, baseline, "accuracy"),
            auc=score_of(scores, LSTM, "auc"),
        )

    @property
    def leads(self) -> Leads:
        """The next session alone."""
        return ((self.row["lead"], self.row["target_session"]),)

    @property
    def level(self) -> float:
        """Nominal coverage of the implied mean's interval."""
        return float(self.row["level"])

    def drawing(self) -> Divided:
        """One divided bar."""
        return Divided(
            name=f"{self.row['instrument']}, probability of a rise",
            rise=self.row["probability_up"],
            usual=self.rises.share if self.rises else math.nan,
        )

    def chart(self, chart_id: str) -> str:
        """The drawing as SVG."""
        return inline_chart(self.drawing(), chart_id)

    def caption(self) -> str:
        """What the line on the bar is."""
        if self.rises is None:
            return ""
        return f"Line: it rose in {self.usual.text} of {plural(self.rises.steps, 'session')} known"

    def tables(self) -> tuple[Table, ...]:
        """What each method scored."""
        return class_scores(self.scores)

    def notes(self) -> tuple[str, ...]:
        """The mean that the probability implies."""
        return _implied_mean(self.row, self.scores)


@dataclass(frozen=True)
class DecileFigures:
    """Probabilities of ten classes, the outer two in full, and what the LSTM scored.

    `low_edge` and `high_edge`: where the lowest class ends and the highest begins.
    """

    row: Row
    scores: tuple[Row, ...]
    low: Cell
    low_edge: str
    high: Cell
    high_edge: str
    rps_skill: Cell
    mark: str = ""

    @classmethod
    def of(cls, row: Row, scores: Sequence[Row]) -> Self:
        """The figures of one instrument."""
        low, *_, high = row["probabilities"]
        edges = edge_texts(row["edges"])
        return cls(
            row=row,
            scores=tuple(scores),
            low=Cell(percent(low, 1), low),
            low_edge=f"{edges[0]}{THIN}%",
            high=Cell(percent(high, 1), high),
            high_edge=f"{edges[-1]}{THIN}%",
            rps_skill=score_of(scores, LSTM, "rps_skill"),
        )

    @property
    def leads(self) -> Leads:
        """The next session alone."""
        return ((self.row["lead"], self.row["target_session"]),)

    @property
    def level(self) -> float:
        """Nominal coverage of the implied mean's interval."""
        return float(self.row["level"])

    def drawing(self) -> Columns:
        """One column per class, over its edges."""
        return Columns(
            name=f"{self.row['instrument']}, probability of each tenth of the next return",
            classes=class_names(self.row),
            edges=edge_texts(self.row["edges"]),
            probabilities=tuple(self.row["probabilities"]),
            axis="change of the price by the next close, %",
        )

    def chart(self, chart_id: str) -> str:
        """The drawing as SVG."""
        return inline_chart(self.drawing(), chart_id)

    def caption(self) -> str:
        """What the line across the columns is."""
        even = percent(1 / len(self.row["probabilities"]), 0)
        return f"Line: {even}, each class’s share of the sessions that its edges were taken from"

    def tables(self) -> tuple[Table, ...]:
        """What each method scored, then each class."""
        return (*class_scores(self.scores), probability_table(self.row))

    def notes(self) -> tuple[str, ...]:
        """The mean that the probabilities imply."""
        return _implied_mean(self.row, self.scores)


def with_columns(of: Sequence[DecileFigures]) -> tuple[DecileFigures, ...]:
    """The figures with small columns of their probabilities, all on one scale."""
    high = max((p for one in of for p in one.row["probabilities"]), default=1.0)
    return tuple(replace(one, mark=columns_mark(one.row["probabilities"], high)) for one in of)


def _implied_mean(row: Row, scores: Sequence[Row]) -> tuple[str, ...]:
    mean, lower, upper = (percent(row[name], signed=True) for name in ("mean", "lower", "upper"))
    level = percent(row["level"], 0)
    text = f"The probabilities imply a mean return of {mean}; {level} interval {lower} to {upper}"
    covered = [one["coverage"] for one in scores if one["coverage"] is not None]
    if covered:
        text += f", which held {percent(covered[0], 1)} of the outcomes scored"
    return (f"{text}.",)
