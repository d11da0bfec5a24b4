"""The market of a calendar: who stands for it, what it is, and that it knows no future."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.features import Series, features
from tasks.market import FLOOR, JOINING, SAMPLE, market_of, market_sample, with_market
from tasks.sessions import CalendarConfig, Calendars
from tests.tasks.markets import Floats

ROWS = 300


@pytest.fixture(scope="module")
def calendars() -> Calendars:
    return Calendars.load(CalendarConfig(default="XNYS", overrides={"LON": "XLON"}))


def made(name: str, *, seed: int, first: int = 0, rows: int = ROWS) -> Series:
    random = np.random.default_rng(seed)
    log_return = random.normal(scale=0.01 * (seed + 1), size=rows)
    log_return[0] = np.nan
    ordinals = np.arange(first, first + rows)
    return Series(
        instrument=name,
        sessions=np.datetime64("2010-01-04", "D") + ordinals,
        ordinals=ordinals,
        close=np.exp(np.nancumsum(log_return)),
        log_return=log_return,
        variance=log_return**2,
        has_range=False,
    )


def by_hand(members: list[Series], session: np.datetime64) -> tuple[float, float]:
    """Slow and obvious: the market of one session."""
    logs, returns = [], []
    for one in members:
        moves = 0
        unit: list[float] = []
        for row, when in enumerate(one.sessions):
            if moves == JOINING and when == session:
                logs.append(np.log(one.variance[row] / np.mean(unit) + FLOOR))
                returns.append(one.log_return[row])
            if one.variance[row] > 0.0 and moves < JOINING:
                moves += 1
                unit.append(one.variance[row])
    return float(np.exp(np.mean(logs))), float(np.mean(returns))


def test_the_market_is_the_mean_of_those_who_joined() -> None:
    members = [made("A", seed=1), made("B", seed=2, first=40), made("C", seed=3, first=200)]
    market = market_of(members)
    assert market.sessions[0] == members[0].sessions[JOINING + 1]
    for place in (0, 50, 120, 250, len(market.sessions) - 1):
        expected = by_hand(members, market.sessions[place])
        assert (market.variance[place], market.log_return[place]) == pytest.approx(expected)


def test_the_order_of_the_members_changes_no_bit() -> None:
    members = [made(name, seed=place) for place, name in enumerate("DACB")]
    one, other = market_of(members), market_of(members[::-1])
    assert one.variance.tobytes() == other.variance.tobytes()
    assert one.log_return.tobytes() == other.log_return.tobytes()


@pytest.mark.parametrize("stop", [70, 150, 299])
def test_a_later_price_changes_no_earlier_bit(calendars: Calendars, stop: int) -> None:
    """The canary: neither the market nor a feature of it at a session knows a later one."""

    def features_of(sample: dict[str, Series]) -> Floats:
        joined = with_market({"A": made("A", seed=1)}, sample, calendars)
        return features(joined["A"], 1e-6)[:stop]

    honest = {name: made(name, seed=place + 5) for place, name in enumerate("BCD")}
    honest["E"] = made("E", seed=9, first=100, rows=ROWS - 100)
    corrupt = {}
    for name, one in honest.items():
        variance, log_return = one.variance.copy(), one.log_return.copy()
        late = one.ordinals >= stop
        variance[late], log_return[late] = 1e6, -5.0
        corrupt[name] = replace(one, variance=variance, log_return=log_return)
    assert features_of(honest).tobytes() == features_of(corrupt).tobytes()


def test_the_unit_of_an_instrument_does_not_matter() -> None:
    members = [made(name, seed=place) for place, name in enumerate("AB")]
    louder = [replace(members[0], variance=members[0].variance * 1e4), members[1]]
    assert market_of(louder).variance == pytest.approx(market_of(members).variance)


def test_who_never_moved_never_joins() -> None:
    still = made("A", seed=1)
    still = replace(still, log_return=still.log_return * 0.0, variance=still.variance * 0.0)
    assert len(market_of([still]).sessions) == 0
    alone = market_of([made("B", seed=2)])
    assert market_of([still, made("B", seed=2)]).variance.tobytes() == alone.variance.tobytes()


def without(one: Series, *rows: int) -> Series:
    kept = np.delete(np.arange(len(one)), rows)
    return replace(
        one,
        sessions=one.sessions[kept],
        ordinals=one.ordinals[kept],
        close=one.close[kept],
        log_return=one.log_return[kept],
        variance=one.variance[kept],
    )


def test_a_few_punctual_instruments_are_no_market(calendars: Calendars) -> None:
    """On a night when most bars are late, the market stays where it was."""
    members = {name: made(name, seed=place) for place, name in enumerate("ABCDE")}
    late = {name: without(one, ROWS - 1) if name > "B" else one for name, one in members.items()}
    found = with_market({"A": members["A"]}, late, calendars)["A"]
    full = with_market({"A": members["A"]}, members, calendars)["A"]
    assert found.market_variance is not None
    assert full.market_variance is not None
    assert found.market_return is not None
    assert full.market_return is not None
    assert found.market_variance[:-1].tobytes() == full.market_variance[:-1].tobytes()
    assert found.market_variance[-1] == full.market_variance[-2]
    assert (found.market_return[-1], full.market_return[-1] != 0.0) == (0.0, True)


def test_half_of_them_are_a_market() -> None:
    members = [made(name, seed=place) for place, name in enumerate("ABCD")]
    half = [*members[:2], *(without(one, ROWS - 1) for one in members[2:])]
    market = market_of(half)
    assert market.sessions[-1] == members[0].sessions[-1]
    expected = by_hand(members[:2], members[0].sessions[-1])
    assert (market.variance[-1], market.log_return[-1]) == pytest.approx(expected)


def test_who_has_left_is_not_waited_for() -> None:
    members = [made(name, seed=place) for place, name in enumerate("ABC")]
    gone = [members[0], *(without(one, *range(200, ROWS)) for one in members[1:])]
    market = market_of(gone)
    assert market.sessions[-1] == members[0].sessions[-1]
    since = market.sessions >= members[0].sessions[200 + 11]
    assert since.sum() == ROWS - 211


def test_where_there_is_no_market_it_is_at_rest(calendars: Calendars) -> None:
    found = with_market({"A": made("A", seed=1)}, {"B": made("B", seed=2, first=100)}, calendars)
    one = found["A"]
    assert one.market_variance is not None
    assert one.market_return is not None
    joined = 100 + JOINING + 1
    assert (one.market_variance[:joined] == 1.0).all()
    assert (one.market_return[:joined] == 0.0).all()
    assert (one.market_variance[joined:] != 1.0).all()
    inputs = features(one, 1e-6)
    lone = features(made("A", seed=1), 1e-6)
    assert np.array_equal(np.isfinite(inputs).all(axis=1), np.isfinite(lone).all(axis=1))


def test_an_exchange_has_a_market_of_its_own(calendars: Calendars) -> None:
    """New York's close of a date is later than London's: it may not tell London its session."""
    series = {name: made(name, seed=place) for place, name in enumerate(["LON", "NY1", "NY2"])}
    found = with_market(series, series, calendars)
    alone = market_of([series["LON"]])
    london = found["LON"].market_variance
    assert london is not None
    assert np.array_equal(london[JOINING + 1 :], alone.variance)


def test_the_sample_is_small_and_hardly_changes(calendars: Calendars) -> None:
    names = [f"I{number:03}" for number in range(200)]
    sample = market_sample(names, calendars)
    assert len(sample) == SAMPLE
    assert sample == tuple(sorted(sample))
    assert market_sample(names[::-1], calendars) == sample
    assert len({*market_sample([*names, "NEW"], calendars)} - {*sample}) <= 1
    assert market_sample([*names, "LON"], calendars) == tuple(sorted([*sample, "LON"]))
    assert market_sample(names[:3], calendars) == tuple(names[:3])
