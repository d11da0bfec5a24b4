"""Class baselines against slow counts and closed forms, and what they must never do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_models import multinomial_logit
from lstm_models.class_baselines import (
    CLASS_BASELINES,
    DEFAULT_CLASS_BASELINE,
    LOGIT_COLUMNS,
    class_skip,
    fit,
    min_rows,
)
from lstm_models.classes import labels, quantile_edges
from lstm_models.features import FEATURES, columns
from lstm_models.fleet_config import CLASSES

Floats = NDArray[np.float64]
RISE = (0.0,)
ROWS = 900
EWMA = columns(("log_variance_ewma",))[0]
READS = {"frequencies": (), "climatology": ("log_variance_ewma",), "logit": FEATURES}


def history(seed: int = 0, rows: int = ROWS) -> tuple[Floats, Floats]:
    """Features whose variance columns drive the size of the next return, some of them zero."""
    rng = np.random.default_rng(seed)
    level = np.zeros(rows)
    for row in range(1, rows):
        level[row] = 0.97 * level[row - 1] + 0.25 * rng.normal()
    inputs = rng.normal(size=(rows, len(FEATURES)))
    variances = columns(name for name in FEATURES if name.startswith("log_variance"))
    inputs[:, variances] = level[:, None] - 9.0 + 0.5 * inputs[:, variances]
    returns = np.exp((level - 9.0) / 2) * (rng.standard_t(5, size=rows) + 0.3 * inputs[:, 0])
    returns[rng.random(rows) < 0.05] = 0.0
    return inputs, returns


def every(inputs: Floats) -> NDArray[np.bool_]:
    return np.ones(len(inputs), dtype=np.bool_)


def edges_of(kind: str, returns: Floats) -> Floats:
    return np.array(RISE) if kind == "direction" else quantile_edges(returns, CLASSES[kind])  # type: ignore[index]


@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
def test_frequencies_are_counts_and_a_half(kind: str) -> None:
    inputs, returns = history()
    edges = edges_of(kind, returns)
    came = labels(returns[:300], edges)
    counts = np.array([float(np.sum(came == place)) for place in range(len(edges) + 1)])
    rows = every(inputs)
    rows[300:] = False
    predictions = fit("frequencies", inputs, returns, rows, edges).predict(inputs)
    expected = (counts + 0.5) / (300 + len(counts) / 2)
    np.testing.assert_allclose(
        predictions, np.broadcast_to(expected, predictions.shape), rtol=1e-14
    )


@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
def test_climatology_counts_the_history_at_todays_volatility(kind: str) -> None:
    inputs, returns = history(rows=250)
    edges = edges_of(kind, returns)
    fitted = fit("climatology", inputs, returns, every(inputs), edges)
    predictions = fitted.predict(inputs)
    volatility = np.exp(inputs[:, EWMA] / 2)
    for row in (0, 17, 249):
        # The classes of the returns that history would have brought at this row's volatility.
        came = labels(returns / volatility * volatility[row], edges)
        counts = np.array([float(np.sum(came == place)) for place in range(len(edges) + 1)])
        np.testing.assert_allclose(
            predictions[row], (counts + 0.5) / (250 + len(counts) / 2), rtol=1e-12
        )


def test_climatology_puts_a_return_on_the_edge_below_it() -> None:
    inputs = np.full((40, len(FEATURES)), -9.0)
    returns = np.repeat([-0.01, 0.0, 0.01], [10, 20, 10])
    fitted = fit("climatology", inputs, returns, every(inputs), RISE)
    np.testing.assert_allclose(fitted.predict(inputs[:1]), [[30.5 / 41, 10.5 / 41]], rtol=1e-14)
    # On an edge that is not zero, at the volatility of the row that the return came from.
    edges = (-0.01, 0.0)
    predictions = fit("climatology", inputs, returns, every(inputs), edges).predict(inputs[:1])
    np.testing.assert_allclose(predictions, [[10.5 / 41.5, 20.5 / 41.5, 10.5 / 41.5]], rtol=1e-14)


def test_a_calmer_day_moves_climatology_to_the_middle() -> None:
    inputs, returns = history()
    fitted = fit("climatology", inputs, returns, every(inputs), quantile_edges(returns, 10))
    days = np.zeros((3, len(FEATURES)))
    days[:, EWMA] = np.quantile(inputs[:, EWMA], [0.1, 0.5, 0.9])
    outer = fitted.predict(days)[:, [0, 9]].sum(axis=1)
    assert outer[0] < outer[1] < outer[2]


@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
def test_a_logit_without_information_is_the_frequencies(kind: str) -> None:
    inputs, returns = history()
    edges = edges_of(kind, returns)
    inputs[:] = -9.21
    fitted = fit("logit", inputs, returns, every(inputs), edges)
    assert (fitted.parameters[:-1] == 0.0).all()
    frequencies = fit("frequencies", inputs, returns, every(inputs), edges).predict(inputs + 1.0)
    np.testing.assert_allclose(fitted.predict(inputs + 1.0), frequencies, rtol=1e-9)


@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
def test_the_logit_reads_its_columns_and_its_rows(kind: str) -> None:
    inputs, returns = history()
    edges = edges_of(kind, returns)
    rows = np.arange(ROWS) >= 200
    fitted = fit("logit", inputs, returns, rows, edges)
    read = inputs[:, columns(LOGIT_COLUMNS[kind])]
    came = labels(returns, edges).astype(np.int64)
    direct = multinomial_logit.fit(read[200:], came[200:], len(edges) + 1, pseudo_count=0.5)
    assert fitted.parameters.tobytes() == direct.tobytes()
    expected = multinomial_logit.predict(direct, read)
    assert fitted.predict(inputs).tobytes() == expected.tobytes()


@given(
    name=st.sampled_from(CLASS_BASELINES),
    seed=st.integers(0, 99),
    distinct=st.integers(10, 60),
    shift=st.floats(-30.0, 30.0),
)
@settings(max_examples=60)
def test_probabilities_sum_to_one_and_none_is_zero(
    name: str, seed: int, distinct: int, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    inputs, _ = history(seed, rows=560)
    # Tied returns, half of them zero, with every distinct value there once at least.
    values = 0.01 * rng.normal(size=distinct)
    returns = np.where(rng.random(560) < 0.5, 0.0, rng.choice(values, 560))
    returns[:distinct] = values
    for edges in (np.array(RISE), quantile_edges(returns, 10)):
        fitted = fit(name, inputs, returns, every(inputs), edges)
        assert fitted.fitted
        predictions = fitted.predict(np.r_[inputs, inputs + shift])
        np.testing.assert_allclose(predictions.sum(axis=-1), 1.0, rtol=1e-12)
        assert (predictions > 0.0).all()


@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
@pytest.mark.parametrize("name", CLASS_BASELINES)
@given(data=st.data())
@settings(max_examples=10)
def test_a_rows_bits_do_not_depend_on_the_rows_asked_for(
    name: str, kind: str, data: st.DataObject
) -> None:
    inputs, returns = history()
    fitted = fit(name, inputs, returns, every(inputs), edges_of(kind, returns))
    whole = fitted.predict(inputs)
    some = data.draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=40))
    assert fitted.predict(inputs[some]).tobytes() == whole[some].tobytes()
    single = inputs.astype(np.float32)
    assert fitted.predict(single).tobytes() == fitted.predict(single.astype(float)).tobytes()


@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
@pytest.mark.parametrize("name", CLASS_BASELINES)
def test_what_comes_later_and_padding_change_no_bit(name: str, kind: str) -> None:
    inputs, returns = history()
    edges = edges_of(kind, returns[:700])
    rows = every(inputs)
    rows[700:] = False
    before = fit(name, inputs, returns, rows, edges)
    corrupt_inputs, corrupt_returns = inputs.copy(), returns.copy()
    corrupt_inputs[700:], corrupt_returns[700:] = 1e2, -1e6
    after = fit(name, corrupt_inputs, corrupt_returns, rows, edges)
    assert after.parameters.tobytes() == before.parameters.tobytes()
    skip = class_skip(kind, inputs, returns, rows, edges, full=True)
    later = class_skip(kind, corrupt_inputs, corrupt_returns, rows, edges, full=True)
    assert later.tobytes() == skip.tobytes()
    pad = (13, 8)
    padded = fit(
        name,
        np.pad(inputs, (pad, (0, 0)), constant_values=np.nan),
        np.pad(returns, pad, constant_values=np.nan),
        np.pad(rows, pad, constant_values=True),
        edges,
    )
    assert padded.parameters.tobytes() == before.parameters.tobytes()
    assert padded.rows == before.rows == 700
    leaked = fit(name, corrupt_inputs, corrupt_returns, every(inputs), edges)
    assert leaked.parameters.tobytes() != before.parameters.tobytes()


@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
@pytest.mark.parametrize("name", CLASS_BASELINES)
def test_too_few_rows_are_said_so_and_never_fitted(name: str, kind: str) -> None:
    inputs, returns = history()
    edges = edges_of(kind, returns)
    needed = min_rows(name, len(edges) + 1)
    assert (
        needed
        == {
            "frequencies": 10,
            "climatology": {"direction": 10, "quantile_class": 90}[kind],
            "logit": {"direction": 40, "quantile_class": 540}[kind],
        }[name]
    )
    for count in (0, needed - 1, needed):
        known = np.where(np.arange(ROWS) < count, returns, np.nan)
        fitted = fit(name, inputs, known, every(inputs), edges)
        assert fitted.rows == count
        assert fitted.fitted == (count == needed)
        predictions = fitted.predict(inputs)
        assert predictions.shape == (ROWS, len(edges) + 1)
        assert np.isfinite(predictions).all() == fitted.fitted
        assert np.isnan(predictions).all() != fitted.fitted


@pytest.mark.parametrize("missing", [np.nan, -np.inf, np.inf])
@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
@pytest.mark.parametrize("name", CLASS_BASELINES)
def test_a_missing_input_gives_no_prediction_and_no_fit_row(
    name: str, kind: str, missing: float
) -> None:
    inputs, returns = history()
    edges = edges_of(kind, returns)
    reads = columns(LOGIT_COLUMNS[kind] if name == "logit" else READS[name])
    others = [place for place in range(len(FEATURES)) if place not in reads]
    clean = fit(name, inputs, returns, every(inputs), edges).predict(inputs)
    inputs[:, others] = missing
    for row, place in enumerate(reads):
        inputs[row, place] = missing
    fitted = fit(name, inputs, returns, every(inputs), edges)
    assert fitted.rows == ROWS - len(reads)
    predictions = fitted.predict(inputs)
    assert np.isnan(predictions[: len(reads)]).all()
    assert np.isfinite(predictions[len(reads) :]).all()
    if not reads:
        assert predictions.tobytes() == clean.tobytes()


def test_a_volatility_that_is_no_number_is_missing_to_climatology() -> None:
    inputs, returns = history()
    inputs[:2, EWMA] = 2_000.0, -2_000.0
    fitted = fit("climatology", inputs, returns, every(inputs), quantile_edges(returns, 10))
    assert fitted.rows == ROWS - 2
    assert np.isfinite(fitted.parameters).all()
    assert np.isnan(fitted.predict(inputs)).all(axis=-1).tolist() == [True] * 2 + [False] * 898


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("kind", LOGIT_COLUMNS)
def test_the_skip_path_is_the_logit_or_the_frequencies(kind: str, full: bool) -> None:
    inputs, returns = history()
    edges = edges_of(kind, returns)
    skip = class_skip(kind, inputs, returns, every(inputs), edges, full=full)
    assert skip.shape == (len(FEATURES) + 1, 1 if kind == "direction" else 10)
    name = "logit" if full and kind == "quantile_class" else "frequencies"
    logits = np.broadcast_to(skip[-1], (ROWS, skip.shape[1])).copy()
    for place in range(len(FEATURES)):
        logits += inputs[:, [place]] * skip[place]
    expected = fit(name, inputs, returns, every(inputs), edges)
    if kind == "direction":
        probabilities = 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(probabilities[:, 0], expected.predict(inputs)[:, 1], rtol=1e-12)
    else:
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, expected.predict(inputs), rtol=1e-12)
    if name == "frequencies":
        assert (skip[:-1] == 0.0).all()
    else:
        places = [*columns(LOGIT_COLUMNS[kind]), len(FEATURES)]
        assert np.array_equal(skip[places], expected.parameters)
        assert np.count_nonzero(skip) == expected.parameters.size


def test_a_short_history_skips_to_its_frequencies_and_none_to_equal_ones() -> None:
    inputs, returns = history()
    edges = quantile_edges(returns, 10)
    rows = np.arange(ROWS) < min_rows("logit", 10) - 1
    skip = class_skip("quantile_class", inputs, returns, rows, edges, full=True)
    assert np.array_equal(
        skip, class_skip("quantile_class", inputs, returns, rows, edges, full=False)
    )
    nothing = class_skip("quantile_class", inputs, returns, rows & False, edges, full=True)
    np.testing.assert_allclose(np.exp(nothing[-1]), 0.1, rtol=1e-12)
    assert class_skip("direction", inputs, returns, rows & False, RISE, full=True)[-1] == [0.0]


def test_the_tables_agree_with_each_other() -> None:
    assert set(DEFAULT_CLASS_BASELINE) == set(LOGIT_COLUMNS) == set(CLASSES)
    assert set(DEFAULT_CLASS_BASELINE.values()) <= set(CLASS_BASELINES)
    # Part of the contract of a checkpoint: the coefficients are stored without their names.
    assert LOGIT_COLUMNS["direction"] == ("log_return", "return_5", "log_variance_22")
    for names in LOGIT_COLUMNS.values():
        assert list(columns(names)) == sorted(columns(names))


def test_wrong_arguments_are_named() -> None:
    inputs, returns = history(rows=50)
    rows = every(inputs)
    with pytest.raises(ValueError, match="unknown class baseline 'logti': expected one of"):
        fit("logti", inputs, returns, rows, RISE)
    with pytest.raises(ValueError, match=r"with 17 features: received shape \(50, 4\)"):
        fit("logit", inputs[:, :4], returns, rows, RISE)
    with pytest.raises(ValueError, match=r"inputs must be \(row, feature\)"):
        fit("frequencies", inputs, returns, rows, RISE).predict(inputs[0])
    with pytest.raises(ValueError, match=r"of the inputs' 50 rows: received shape \(49,\)"):
        fit("logit", inputs, returns[1:], rows, RISE)
    with pytest.raises(ValueError, match="rows must be a boolean mask .* received float64"):
        fit("logit", inputs, returns, rows.astype(np.float64), RISE)
    with pytest.raises(ValueError, match="must strictly increase"):
        fit("logit", inputs, returns, rows, (0.1, 0.0))
    with pytest.raises(ValueError, match="unknown class kind 'many_to_many': expected one of"):
        class_skip("many_to_many", inputs, returns, rows, RISE, full=True)
    with pytest.raises(ValueError, match="2 classes, quantiles more: quantile_class received 2"):
        class_skip("quantile_class", inputs, returns, rows, RISE, full=True)
    with pytest.raises(ValueError, match="2 classes, quantiles more: direction received 3"):
        class_skip("direction", inputs, returns, rows, (0.0, 0.1), full=True)
