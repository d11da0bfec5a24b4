"""Markets for the tests of the class kinds: what ties, what has few returns, and all three kinds.

Beside ANT, BEE and FLY of `markets`: ILL does not trade on six days of ten, and OCT knows eight
returns only. And refits in a row, the first of which starts from nothing.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lstm_models.fleet_config import KINDS, Kind
from tasks.settings import ForecastSettings
from tests.tasks.markets import (
    ANT,
    BEE,
    REFIT,
    ROWS,
    SETTINGS,
    Prices,
    bars_table,
    exchange,
    garch,
    sessions_to,
)

UNIVERSE = ("ANT", "BEE", "FLY", "ILL", "OCT")


def with_kinds(*kinds: Kind, settings: ForecastSettings = SETTINGS) -> ForecastSettings:
    """The settings with other kinds."""
    model = settings.model.model_copy(update={"kinds": kinds})
    return settings.model_copy(update={"model": model})


EVERY = with_kinds(*KINDS)


def illiquid(seed: int, rows: int = ROWS) -> Prices:
    """Closes that stand still on 60 % of the days."""
    random = np.random.default_rng(seed)
    moves = np.where(random.uniform(size=rows) < 0.6, 0.0, random.normal(0.0, 0.02, rows))
    level = np.exp(np.cumsum(moves))
    still = np.flatnonzero(moves[1:] == 0.0) + 1
    for row in still:
        level[row] = level[row - 1]
    return Prices(level, level, level, level).close_only()


def eight_returns(seed: int, rows: int = ROWS) -> Prices:
    """Closes on powers of two, so that equal moves have equal returns to the bit."""
    random = np.random.default_rng(seed)
    steps = [-3, -2, -1, 0, 1, 2, 3, 4]
    place, places = 0, [0]
    for _ in range(rows - 1):
        place += int(random.choice(steps if abs(place) < 20 else [-np.sign(place)]))
        places.append(place)
    level = 2.0 ** np.array(places, np.float64)
    return Prices(level, level, level, level).close_only()


ILL, OCT = illiquid(11), eight_returns(12)


def class_bars() -> list[pa.Table]:
    return [
        bars_table("ANT", ANT),
        bars_table("BEE", BEE),
        bars_table("FLY", garch(5, 200)),
        bars_table("ILL", ILL),
        bars_table("OCT", OCT),
    ]


def warm(settings: ForecastSettings, cold_every: int) -> ForecastSettings:
    """The settings with refits that start from the one before."""
    training = settings.training.model_copy(update={"cold_every": cold_every})
    return settings.model_copy(update={"training": training})


REFIT_EVERY = SETTINGS.training.refit_every
COLD_EVERY = 3
WARM = warm(with_kinds("many_to_many", "direction"), COLD_EVERY)
COLD = next(
    session
    for session in sessions_to(REFIT, 40).tolist()[::-1]
    if exchange().ordinal(session) % (COLD_EVERY * REFIT_EVERY) == 0
    and exchange().offset(session, 2 * REFIT_EVERY) <= REFIT
)
"""A refit session that starts from nothing, with two that do not after it."""
REFITS = tuple(exchange().offset(COLD, REFIT_EVERY * number) for number in range(COLD_EVERY))
