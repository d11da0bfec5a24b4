"""What a night can forecast, in words: each target by each kind of network.

Owns names and the order of the page. Never touches a row's values.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.kinds import is_class_kind


@dataclass(frozen=True)
class Topic:
    """One target, forecast by one kind of network.

    Args:
        target: as the store has it.
        kind: as the store has it.
        heading: what its tables are called.
        noun: what it is called within a sentence.
        caption: what its numbers are, in a sentence.
        slug: its name within an anchor of the page.
    """

    target: str
    kind: str
    heading: str
    noun: str
    caption: str
    slug: str

    @property
    def classes(self) -> bool:
        """Whether probabilities of classes are forecast, not a path of means."""
        return is_class_kind(self.kind)


TOPICS = (
    Topic(
        "log_return",
        "many_to_many",
        heading="Return",
        noun="returns",
        caption="Cumulative log return of total-return closes since the last close.",
        slug="log_return",
    ),
    Topic(
        "log_volatility",
        "many_to_many",
        heading="Volatility",
        noun="volatility",
        caption="Mean daily volatility over the sessions up to the lead, × √252 for a year, "
        "corrected for the bias of exponentiating.",
        slug="log_volatility",
    ),
    Topic(
        "log_return",
        "direction",
        heading="Direction",
        noun="direction",
        caption="Probability that the next session's total-return close is above the last.",
        slug="direction",
    ),
    Topic(
        "log_return",
        "quantile_class",
        heading="Deciles",
        noun="deciles",
        caption="Probability of each tenth of the next session's return; the edges are deciles of "
        "the sessions that the model was fitted on.",
        slug="quantile_class",
    ),
)
"""In the order of the page."""


def topic(target: str, kind: str) -> Topic:
    """What a target and kind are called; one that is not known here goes by its own name."""
    for one in TOPICS:
        if (one.target, one.kind) == (target, kind):
            return one
    name = target if kind == "many_to_many" else f"{target} {kind}"
    return Topic(target, kind, name, name, "", f"{kind}-{target}")
