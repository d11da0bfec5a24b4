"""The quality benchmark: its figures against slow references, its walk and its tables when tiny."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from benchmarks.quality import classics, tables
from benchmarks.quality.figures import coverage, ratio
from benchmarks.quality.study import CONSTANT, Panel, complete, walk_forward
from lstm_models.fleet_config import Kind
from tasks.decisions import PUBLISHED
from tasks.features import Floats, Series
from tasks.market import with_market
from tasks.sessions import CalendarConfig, Calendars
from tasks.settings import TargetsConfig
from tasks.walkforward import Subject, fit_baselines, subject
from tests.tasks.markets import SETTINGS, garch, series_of

LEADS = 10
TINY = SETTINGS.model_copy(update={"targets": TargetsConfig(horizon=LEADS)})
ROWS = 540
"""Enough for tonight's fold and two test folds under TINY."""
FORECASTS: tuple[tuple[Kind, str], ...] = (
    ("many_to_many", "log_volatility"),
    ("many_to_many", "log_return"),
    ("direction", "log_return"),
)


def losses(instruments: int, sessions: int, seed: int) -> Floats:
    """Of one method: positive, alike across instruments, slowly changing."""
    random = np.random.default_rng(seed)
    shared = np.convolve(random.normal(size=sessions + 9), np.ones(10) / 3.0, "valid")
    return np.exp(0.5 * shared + random.normal(0.0, 0.7, (instruments, sessions)))


def panel_of(**fields: Any) -> Panel:  # noqa: ANN401 - any of Panel's
    """A panel of one log-return method, but for what a test names."""
    held = np.zeros((2, 3, 1))
    given: dict[str, Any] = {
        "kind": "many_to_many",
        "target": "log_return",
        "instruments": ("ANT", "BEE"),
        "sessions": np.arange("2024-01-01", "2024-01-04", dtype="datetime64[D]"),
        "losses": {"zero": held},
        "rises": held[..., 0],
        "seconds": 0.0,
        **{name: {} for name in ("qlike", "covered", "widths", "called", "chosen", "not_fitted")},
    }
    return Panel(**{**given, **fields})


def hac_covariance(one: Floats, other: Floats, lags: int) -> float:
    """Bartlett's long-run covariance, term by term."""
    count = len(one)
    total = 0.0
    for first in range(count):
        for second in range(count):
            weight = max(0.0, 1.0 - abs(first - second) / (lags + 1))
            total += weight * (one[first] - one.mean()) * (other[second] - other.mean()) / count
    return total


@pytest.mark.parametrize("horizon", [1, 30])
def test_the_interval_of_a_ratio_is_the_delta_method_on_both_long_run_covariances(
    horizon: int,
) -> None:
    own, other = losses(3, 90, 1), losses(3, 90, 2)
    own[0, 5] = other[1, 7] = np.nan
    own[:, 40] = np.nan
    pairs = [
        (session, [i for i in range(3) if np.isfinite(own[i, session] + other[i, session])])
        for session in range(90)
    ]
    a = np.array([sum(own[i, s] for i in held) for s, held in pairs if held])
    b = np.array([sum(other[i, s] for i in held) for s, held in pairs if held])
    assert len(a) == 89
    lags = max(horizon, math.ceil(1.3 * math.sqrt(89))) - 1
    gradient = np.array([1.0 / b.mean(), -a.mean() / b.mean() ** 2])
    covariance = np.array([[hac_covariance(x, y, lags) for y in (a, b)] for x in (a, b)])
    share = (lags + 1) / 89
    variance = gradient @ covariance @ gradient / (1.0 - share + share**2 / 3.0)
    half = stats.t.ppf(0.975, 1.5 / share) * math.sqrt(variance / 89)

    found = ratio(own, other, horizon)

    assert found.value == pytest.approx(a.sum() / b.sum())
    assert found.high - found.value == pytest.approx(half)
    assert found.value - found.low == pytest.approx(half)
    assert np.sign(found.t) == np.sign(1.0 - found.value)


def test_the_interval_of_a_ratio_holds_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(3)
    held = []
    for _ in range(400):
        both = random.exponential(1.0, (4, 300))
        own = 0.9 * both * random.exponential(1.0, (4, 300))
        found = ratio(own, both, 1)
        held.append(found.low <= 0.9 <= found.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.035)


def test_what_is_the_same_has_a_ratio_of_one_and_no_test() -> None:
    same = losses(2, 50, 4)
    found = ratio(same, same, 5)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert math.isnan(found.t)


def test_coverage_is_counted_over_pairs_and_its_error_over_sessions() -> None:
    random = np.random.default_rng(5)
    shares = np.array([0.80, 0.83, 0.60])
    held = np.floor(np.arange(1, 101) * shares[:, None]) - np.floor(
        np.arange(100) * shares[:, None]
    )
    held = random.permuted(held, axis=1)
    held[2, :20] = np.nan
    held[:, 90:] = np.nan
    widths = losses(3, 100, 6)
    constant = widths * 1.25
    constant[0, 0] = np.nan
    panel = panel_of(
        covered={PUBLISHED: np.stack([np.zeros((3, 100)), held], axis=2)},
        widths={
            PUBLISHED: np.stack([widths, widths], axis=2),
            CONSTANT: np.stack([widths, constant], axis=2),
        },
    )

    found = coverage(panel, 1, 0.8)

    each = [held[i][np.isfinite(held[i])].mean() for i in range(3)]
    by_session = np.array([np.nanmean(held[:, session]) for session in range(90)])
    lags = math.ceil(1.3 * math.sqrt(90)) - 1
    assert found.share == pytest.approx(np.nansum(held) / (90 + 90 + 70))
    assert found.error == pytest.approx(
        math.sqrt(hac_covariance(by_session, by_session, lags) / 90)
    )
    assert (found.lowest, found.highest) == pytest.approx((min(each), max(each)))
    assert found.near == pytest.approx(sum(abs(share - 0.8) <= 0.05 for share in each) / 3)
    assert found.against_constant == pytest.approx(0.8)


def test_a_pair_is_complete_where_every_method_has_every_lead() -> None:
    one, other, third = np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.full((2, 3, 2), np.nan)
    one[0, 1, 1] = other[1, 2, 0] = np.nan
    panel = panel_of(losses={"zero": one, "drift": other, "ar": third})
    assert_array_equal(
        complete(panel, ["zero", "drift"]), [[True, False, True], [True, True, False]]
    )
    assert not complete(panel, ["zero", "ar"]).any()


@pytest.fixture(scope="module")
def group() -> dict[str, Series]:
    series = {
        "ANT": series_of(garch(1, ROWS), "ANT"),
        "BEE": series_of(garch(2, ROWS).close_only(), "BEE"),
        "CAT": series_of(garch(3, 200), "CAT"),
    }
    return with_market(series, series, Calendars.load(CalendarConfig()))


@pytest.fixture(scope="module")
def panels(group: dict[str, Series]) -> dict[tuple[str, str], Panel]:
    return {(kind, target): walk_forward(group, TINY, kind, target) for kind, target in FORECASTS}


def test_a_group_is_walked_over_its_test_sessions(
    group: dict[str, Series], panels: dict[tuple[str, str], Panel]
) -> None:
    for panel in panels.values():
        assert panel.instruments == ("ANT", "BEE")
        assert panel.not_fitted.keys() == {"CAT"}
        assert_array_equal(panel.sessions, group["ANT"].sessions[-80:])
        assert sum(panel.chosen.values()) == pytest.approx(1.0)
        known = 80 - panel.losses["lstm"].shape[2]
        for method in (PUBLISHED, "lstm", "combination", panel.baseline):
            assert np.isfinite(panel.losses[method][:, :known]).all()


def test_losses_are_those_of_the_forecasts_at_their_sessions(
    group: dict[str, Series], panels: dict[tuple[str, str], Panel]
) -> None:
    closes = np.log(group["BEE"].close)
    zero = panels["many_to_many", "log_return"].losses["zero"][1]
    for row in range(ROWS - 80, ROWS - LEADS):
        moves = closes[row + 1 : row + LEADS + 1] - closes[row]
        assert_allclose(zero[row - ROWS + 80], moves**2, atol=1e-12)
    har = panels["many_to_many", "log_volatility"].losses["har"][0]
    one = subject(group["ANT"], "log_volatility", TINY)
    for fold in one.folds[1:]:
        said = fit_baselines(one, fold)["har"].predict(one.inputs[None])[0]
        rows = slice(*fold.test)
        places = slice(fold.test[0] - ROWS + 80, fold.test[1] - ROWS + 80)
        assert_allclose(har[places], (said[rows] - one.targets[rows]) ** 2)


def test_what_is_published_is_one_method_in_each_fold(
    panels: dict[tuple[str, str], Panel],
) -> None:
    for panel in panels.values():
        counted = dict.fromkeys(panel.chosen, 0.0)
        for instrument in range(2):
            for fold in (slice(0, 40), slice(40, 80)):
                (method, *_) = [
                    name
                    for name in panel.chosen
                    if np.array_equal(
                        panel.losses[name][instrument, fold],
                        panel.losses[PUBLISHED][instrument, fold],
                        equal_nan=True,
                    )
                ]
                counted[method] += 0.25
        assert counted == panel.chosen


def test_intervals_hold_or_miss_wherever_the_outcome_is_known(
    panels: dict[tuple[str, str], Panel],
) -> None:
    for forecast in FORECASTS[:2]:
        panel = panels[forecast]
        for method in (PUBLISHED, "lstm"):
            held = panel.covered[method]
            assert_array_equal(np.isfinite(held), np.isfinite(panel.losses[method]))
            assert set(np.unique(held[np.isfinite(held)])) <= {0.0, 1.0}
            assert 0.4 < np.nanmean(held) < 1.0


def cells(lines: Iterable[str]) -> list[list[int]]:
    """Per table of a page, the cells of each of its lines."""
    found: list[list[int]] = [[]]
    for line in "\n".join(lines).splitlines():
        if "|" in line:
            found[-1].append(line.count("|") + 1)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def test_rows_of_every_table_have_as_many_cells_as_their_header(
    panels: dict[tuple[str, str], Panel], group: dict[str, Series]
) -> None:
    volatility, returns, direction = (panels[forecast] for forecast in FORECASTS)
    with_stubs = [
        ("tiny", classics.with_classics(panel, group, TINY, dict.fromkeys(classics.METHODS, Naive)))
        for panel in (volatility, returns)
    ]
    pages = {
        "volatility": cells(tables.volatility(volatility)),
        "returns": cells(tables.returns(returns)),
        "classes": cells(tables.classes(direction)),
        "intervals": cells(tables.intervals([("tiny", volatility), ("tiny", returns)], 0.8)),
        "classical": cells(tables.classical(with_stubs)),
    }
    assert {name: [len(table) for table in page] for name, page in pages.items()} == {
        "volatility": [10, 10, 10],
        "returns": [7],
        "classes": [7],
        "intervals": [8],
        "classical": [6, 6],
    }
    for name, page in pages.items():
        for table in page:
            assert len(set(table)) == 1, f"{name}: {table}"


@dataclass
class Naive:
    """Forecasts the last value, and keeps what it was shown."""

    shown: Floats | None = None
    latest: Floats | None = None

    def fit(self, y: Floats) -> "Naive":
        self.shown = y.copy()
        return self

    def forward(self, y: Floats, h: int) -> Mapping[str, Floats]:
        self.latest = y.copy()
        return {"mean": np.full(h, y[-1])}


class Halving(Naive):
    """Forecasts that half of what is left of the last value goes at every step."""

    def forward(self, y: Floats, h: int) -> Mapping[str, Floats]:
        return {"mean": y[-1] * 0.5 ** np.arange(1, h + 1)}


def test_a_method_that_says_the_last_price_is_zero_at_every_fifth_session(
    group: dict[str, Series], panels: dict[tuple[str, str], Panel]
) -> None:
    panel = panels["many_to_many", "log_return"]
    found = classics.with_classics(panel, group, TINY, {"auto_ets": Naive})
    forecast = np.arange(80) % 5 == 0
    assert_allclose(
        found.losses["auto_ets"][:, forecast], panel.losses["zero"][:, forecast], atol=1e-12
    )
    assert np.isnan(found.losses["auto_ets"][:, ~forecast]).all()
    assert found.losses["zero"] is panel.losses["zero"]


@pytest.mark.parametrize("target", ["log_return", "log_volatility"])
def test_a_method_is_shown_the_newest_fit_rows_and_later_all_up_to_the_cutoff(
    group: dict[str, Series], target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classics, "HISTORY", 130)
    one = subject(group["ANT"], target, TINY)
    fold = one.folds[2]
    stop, cutoff = fold.early_stop[1], fold.test[0] + 3
    model = Naive()
    classics.forecasts(one, fold, [cutoff], model)
    if target == "log_return":
        closes = np.log(one.series.close)
        expected = closes[stop - 130 : cutoff + 1] - closes[stop - 130]
    else:
        expected = np.log(one.series.variance[stop - 130 : cutoff + 1] + one.epsilon)
    assert model.shown is not None
    assert model.latest is not None
    assert_allclose(model.latest, expected, atol=1e-12)
    assert_array_equal(model.shown, model.latest[:130])


def test_a_path_of_log_variances_becomes_the_log_of_their_mean_less_its_bias(
    group: dict[str, Series],
) -> None:
    one = subject(group["BEE"], "log_volatility", TINY)
    fold = one.folds[1]
    first, stop = fold.fit[0], fold.early_stop[1]

    def said(row: int, lead: int) -> float:
        last = math.log(one.series.variance[row] + one.epsilon)
        return math.log(sum(math.exp(last * 0.5**step) for step in range(1, lead + 1)) / lead)

    rows = range(first + classics.WARM_UP, stop - LEADS, classics.BIAS_STRIDE)
    assert len(rows) >= 4
    cutoffs = [fold.test[0], fold.test[0] + 7]
    expected = np.array(
        [
            [
                said(cutoff, lead)
                + sum(one.targets[row, lead - 1] - said(row, lead) for row in rows) / len(rows)
                for lead in range(1, LEADS + 1)
            ]
            for cutoff in cutoffs
        ]
    )
    assert_allclose(classics.forecasts(one, fold, cutoffs, Halving()), expected)


def test_without_statsforecast_the_page_says_so(
    panels: dict[tuple[str, str], Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classics, "find_spec", lambda _: None)
    assert classics.estimators() == {}
    (line,) = tables.classical([("tiny", panels[FORECASTS[0]])])
    assert line == "Without AutoETS, AutoTheta, AutoARIMA: statsforecast is not installed."


@pytest.mark.parametrize("target", ["log_return", "log_volatility"])
@pytest.mark.parametrize("method", classics.METHODS)
def test_the_real_methods_keep_their_parameters(
    group: dict[str, Series], method: str, target: str
) -> None:
    pytest.importorskip("statsforecast")
    one: Subject = subject(group["ANT"], target, TINY)
    fold = one.folds[1]
    model = Recorder(classics.estimators()[method])
    said = classics.forecasts(one, fold, np.arange(*fold.test), model)
    assert np.isfinite(said).all()
    # With parameters that stay, a forecast is affine in the rows that came after the fit.
    later = np.random.default_rng(7).normal(0.0, 3.0, (2, 40))
    first, second, both, neither = (
        model.forward(np.concatenate([model.shown, rows]), 5)["mean"]
        for rows in (*later, later[0] + later[1], 0.0 * later[0])
    )
    assert_allclose(first + second, both + neither, rtol=1e-6)
    assert np.abs(first - neither).max() > 1e-3
    error = np.nanmean((said - one.targets[slice(*fold.test)]) ** 2)
    assert error < 1.5 * np.nanvar(one.targets[slice(*fold.test)])


class Recorder:
    """A model of statsforecast, and what it was fitted to."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.real = make()
        self.shown = np.empty(0)

    def fit(self, y: Floats) -> None:
        self.shown = y
        self.real.fit(y)

    def forward(self, y: Floats, h: int) -> Mapping[str, Floats]:
        answer: Mapping[str, Floats] = self.real.forward(y, h)
        return answer
