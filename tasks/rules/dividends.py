"""Actions that prices, other actions or the provider's own adjusted closes speak against.

Owns what makes a dividend absurd or contradicted. Never touches bars.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from tasks.rules.config import ValidationConfig
from tasks.rules.panel import NOTHING, PAST, Felt, Floats, Found, Panel, usual_size
from tasks.storage.rows import Codes, Mask

_LARGE = 0.3
"""A dividend of this share of the price must show in it, whatever the others were."""

_UNUSUAL = 4.0
_UNKNOWN_MOVE = 0.02
_SAME = 1e-6
_TWICE_WITHIN = 10
_APART = 20
_FACTOR_NOISE = 5e-4
_FACTOR_SHARE = 0.1


@dataclass(frozen=True)
class Payments:
    """Dividends that the bars of a panel feel, and what speaks for them; axis (dividend).

    Attributes:
        action: the position among the actions given.
        code: whose it is.
        day: its ex-date.
        cash: per share, in the prices' units.
        before: the close before, in the shares of the ex-date.
        rise: the log of (close + cash) over `before`: about 0 where the price fell by the cash.
        least_rise: the lesser of it and of the same with the next close: some providers state an
            ex-date one bar early.
        usual: the mean move of the sessions before.
        others: the median of the instrument's other dividends; NaN with fewer than two.
        rare: whether dividends of the instrument are usually weeks apart.
        implied: the cash that the provider's adjusted closes imply; NaN without.
    """

    action: Codes
    code: Codes
    day: Codes
    cash: Floats
    before: Floats
    rise: Floats
    least_rise: Floats
    usual: Floats
    others: Floats
    rare: Mask
    implied: Floats

    def only(self, count: int) -> Payments:
        """Those among the first `count` actions."""
        mine = self.action < count
        return Payments(**{one.name: getattr(self, one.name)[mine] for one in fields(self)})


def impossible(value: Floats) -> Mask:
    """Which values are no positive number."""
    return ~(np.isfinite(value) & (value > 0))


@dataclass(frozen=True)
class Known:
    """All dividends known, those that came at their own positions first; axis (known).

    Attributes:
        code: whose it is.
        day: its ex-date.
        cash: per share; NaN for splits and for what is not to be looked at.
    """

    code: Codes
    day: Codes
    cash: Floats


def payments(panel: Panel, felt: Felt, known: Known, factor: Floats | None) -> Payments:
    """The dividends among `felt` that have a bar before them.

    Args:
        panel: the bars.
        felt: the actions at the bars.
        known: what they are compared with.
        factor: the provider's adjusted close over the close, axis (bar); None: not given.
    """
    cash_only = ~felt.split & ~panel.first[felt.place]
    action, place = felt.action[cash_only], felt.place[cash_only]
    cash = felt.value[cash_only]
    ratio = np.ones(len(panel) if len(place) else 0)
    if felt.basis == "raw" and len(place):
        np.multiply.at(ratio, felt.place[felt.split], felt.value[felt.split])
    ratio = ratio[place]
    before = panel.close[place - 1] / ratio
    usual = usual_size(panel.past(felt.told(panel), place, PAST))
    others, rare = _company(known, action)
    implied = np.full(len(place), np.nan)
    if factor is not None:
        implied = panel.close[place] * (_nearest(panel, place, factor, cash, ratio) - 1)
    late = np.minimum(place + 1, max(len(panel) - 1, 0))
    late = np.where(panel.code[late] == panel.code[place], late, place)
    rise = np.log((panel.close[place] + cash) / before)
    return Payments(
        action=action,
        code=panel.code[place],
        day=known.day[action],
        cash=cash,
        before=before,
        rise=rise,
        least_rise=np.minimum(rise, np.log((panel.close[late] + cash) / before)),
        usual=np.where(np.isfinite(usual), usual, _UNKNOWN_MOVE),
        others=others,
        rare=rare,
        implied=implied,
    )


def absurd_dividends(paid: Payments, config: ValidationConfig) -> Found:
    """Dividends, as positions among the actions, that are far too large or told twice.

    A dividend is absurd if

    - it is 30 % of the price or more, and the price did not fall with it;
    - it is `dividend_ratio` times the median of the instrument's others, and either the price did
      not fall by half of it or the provider's own adjusted closes imply that many times less;
    - the same amount is told again within ten days by an instrument whose dividends are weeks
      apart: then it is the one with which the price, or the adjusted close, did not fall.
    """
    share = paid.cash / paid.before
    felt = (share > _UNUSUAL * paid.usual) & (np.abs(paid.rise) < share / 2)
    unfelt = paid.least_rise > np.maximum(_UNUSUAL * paid.usual, share / 2)
    large = (share >= _LARGE) & (paid.least_rise > np.log1p(_LARGE)) & unfelt
    with np.errstate(invalid="ignore", divide="ignore"):
        against = paid.cash >= config.dividend_ratio * np.maximum(paid.implied, 0)
        out_of_line = (
            (paid.cash >= config.dividend_ratio * paid.others) & (unfelt | against) & ~felt
        )
    reasons: dict[int, str] = {}
    for one in np.flatnonzero(large | out_of_line).tolist():
        told = f"the dividend {paid.cash[one]:g} is {share[one]:.3g} of the price before"
        if np.isfinite(paid.others[one]):
            told += f" and {paid.cash[one] / paid.others[one]:.3g} times the median of the others"
        reasons[one] = f"{told}, and neither price nor adjusted close confirms it"
    for one, other in _twice(paid, np.setdiff1d(np.arange(len(paid.cash)), list(reasons))):
        day = np.datetime64(int(paid.day[other]), "D")
        reasons[one] = f"the dividend {paid.cash[one]:g} is told again on {day}, where it is felt"
    chosen = sorted(reasons)
    return Found(paid.action[chosen], np.array([reasons[one] for one in chosen], dtype=object))


def contradicted(panel: Panel, felt: Felt, factor: Floats | None) -> Found:
    """Actions, as positions among those given, that the provider's adjusted closes contradict.

    The adjusted close over the close must move as the actions of the session say, whether cash is
    reinvested at the close before or at that of the ex-date; a tenth of it is rounding.
    """
    if factor is None or not len(felt.place) or felt.basis == "total_return":
        return NOTHING
    before, here = felt.place - 1, felt.place
    split = np.zeros(len(panel))
    if felt.basis == "raw":
        np.add.at(split, here[felt.split], np.log(felt.value[felt.split]))
    cash = np.zeros(len(panel))
    np.add.at(cash, here[~felt.split], felt.value[~felt.split])
    with np.errstate(invalid="ignore", divide="ignore"):
        stated = np.log(_nearest(panel, here, factor, cash[here], np.exp(split[here])))
        at_close = np.log1p(cash[here] / panel.close[here])
        at_open = -np.log1p(-cash[here] / (panel.close[before] / np.exp(split[here])))
    at_open = np.where(np.isfinite(at_open), at_open, at_close)
    least, most = np.minimum(at_close, at_open), np.maximum(at_close, at_open)
    slack = _FACTOR_NOISE + _FACTOR_SHARE * most
    apart = stated
    with np.errstate(invalid="ignore"):
        wrong = ((apart < least - slack) | (apart > most + slack)) & ~panel.first[here]
    told = [
        f"the adjusted closes imply {panel.close[place] * np.expm1(x):.4g} of cash at this "
        f"session, stated are {cash[place]:g}"
        for place, x in zip(here[wrong], apart[wrong], strict=True)
    ]
    return Found(felt.action[wrong], np.array(told, dtype=object))


def _nearest(panel: Panel, place: Codes, factor: Floats, cash: Floats, ratio: Floats) -> Floats:
    """The step of `factor`, without splits, that is nearest to the one that `cash` asks for.

    That into the bar, or that from the bar before the one before it to the next: providers also
    adjust a row too early or too late, which changes no return for long.
    """
    last = len(panel) - 1
    early, late = np.maximum(place - 2, panel.start[place]), np.minimum(place + 1, last)
    late = np.where(panel.code[late] == panel.code[place], late, place)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = factor[place] / factor[place - 1] / ratio
        wide = factor[late] / factor[early] / ratio
    wanted = 1 + cash / panel.close[place]
    nearer = np.isnan(own) | (np.abs(wide - wanted) < np.abs(own - wanted))
    step: Floats = np.where(nearer & np.isfinite(wide), wide, own)
    return step


def _company(known: Known, action: Codes) -> tuple[Floats, Mask]:
    """Of each of `action` the median of the instrument's other dividends, and if they are rare."""
    median = np.full(len(known.cash), np.nan)
    rare = np.zeros(len(known.cash), dtype=bool)
    cash = np.flatnonzero(np.isfinite(known.cash))
    if not len(cash):
        return median[action], rare[action]
    ranked = cash[np.lexsort((known.cash[cash], known.code[cash]))]
    code = known.code[ranked]
    start = np.searchsorted(code, code, side="left")
    others = np.searchsorted(code, code, side="right") - start - 1
    rank = np.arange(len(ranked)) - start
    value = known.cash[ranked]
    middle = [
        value[np.minimum(start + half + (half >= rank), len(ranked) - 1)]
        for half in (np.maximum(others - 1, 0) // 2, others // 2)
    ]
    median[ranked] = np.where(others >= 2, (middle[0] + middle[1]) / 2, np.nan)

    ranked = cash[np.lexsort((known.day[cash], known.code[cash]))]
    gap, owner = np.diff(known.day[ranked]), known.code[ranked]
    owner, gap = owner[1:][owner[1:] == owner[:-1]], gap[owner[1:] == owner[:-1]]
    order = np.lexsort((gap, owner))
    owner, gap = owner[order], gap[order]
    first = np.searchsorted(owner, known.code[cash], side="left")
    last = np.searchsorted(owner, known.code[cash], side="right")
    several = last - first >= 2
    rare[cash[several]] = gap[(first + last)[several] // 2] > _APART
    return median[action], rare[action]


def _twice(paid: Payments, among: Codes) -> Iterator[tuple[int, int]]:
    """Dividends told twice: the one that is not felt, and the one that is."""
    ranked = among[np.lexsort((paid.day[among], paid.code[among]))]
    for first, second in zip(ranked[:-1].tolist(), ranked[1:].tolist(), strict=True):
        same = paid.code[first] == paid.code[second] and paid.rare[first]
        same = same and paid.day[second] - paid.day[first] <= _TWICE_WITHIN
        if not same or abs(paid.cash[first] / paid.cash[second] - 1) > _SAME:
            continue
        implied = paid.implied[first] / paid.cash[first], paid.implied[second] / paid.cash[second]
        if np.isfinite(implied).all() and abs(implied[0] - implied[1]) > 0.5:
            less = first if implied[0] < implied[1] else second
        else:
            less = first if paid.rise[first] >= paid.rise[second] else second
        yield less, second if less == first else first
