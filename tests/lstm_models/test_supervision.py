"""What a lane learns from, and how a kind's forecast is made of its outputs."""

import numpy as np
import pytest
from scipy import special

from lstm_models.fleet_config import KINDS
from lstm_models.linear_path import linear_path
from lstm_models.responses import RESPONSES, sigmoid, softmax
from lstm_models.supervision import SUPERVISION, classes, residuals

EDGES = (-0.01, 0.0, 0.02)


def test_classes_are_labels_with_the_path_as_offset() -> None:
    random = np.random.default_rng(0)
    features, skip = random.normal(size=(8, 3)), random.normal(size=(4, 4))
    returns = np.array([[-1.0, -0.01, -0.005, 0.0, 0.01, 0.02, 0.03, np.nan]]).T
    found = classes(features, returns, skip, EDGES, (0, 8))
    expected = [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0]
    assert found.targets[:-1, 0].tolist() == expected
    assert np.isnan(found.targets[-1])
    assert found.offsets is not None
    np.testing.assert_allclose(found.offsets[:-1], features[:-1] @ skip[:-1] + skip[-1])
    assert found.offsets[-1].tolist() == [0.0] * 4
    assert found.scale.tolist() == [1.0] * 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_without_a_known_return_or_path_teaches_nothing(value: float) -> None:
    features, returns = np.ones((5, 2)), np.full((5, 1), 0.01)
    features[1, 0], features[2, 1], returns[3] = value, value, value
    skip = np.array([[2.0], [0.0], [0.5]])  # the second feature is not read
    found = classes(features, returns, skip, (0.0,), (0, 5))
    assert np.isnan(found.targets[:, 0]).tolist() == [False, True, False, True, False]
    assert found.offsets is not None
    assert found.offsets[:, 0].tolist() == [2.5, 0.0, 2.5, 0.0, 2.5]


def test_residuals_are_in_units_of_their_spread_on_the_fit_rows_alone() -> None:
    random = np.random.default_rng(0)
    features, skip = random.normal(size=(30, 3)), random.normal(size=(4, 2))
    left_over = random.normal(size=(30, 2)) * [0.01, 5.0]
    left_over[20:] *= 100.0
    targets = linear_path(features, skip) + left_over
    targets[4, 1] = np.nan
    found = residuals(features, targets, skip, (), (0, 20))
    left_over[4, 1] = np.nan
    np.testing.assert_allclose(found.scale, np.nanstd(left_over[:20], axis=0))
    np.testing.assert_allclose(found.targets, left_over / found.scale, rtol=1e-9)
    assert found.offsets is None


def test_every_kind_has_its_supervision_and_its_response() -> None:
    assert tuple(SUPERVISION) == tuple(RESPONSES) == KINDS


def test_probabilities_are_those_of_scipy() -> None:
    logits = np.concatenate([np.linspace(-800.0, 800.0, 41), [0.0, 1e-300, 1e300, -1e300]])
    np.testing.assert_allclose(sigmoid(logits), special.expit(logits), rtol=1e-14, atol=1e-300)
    rows = np.random.default_rng(0).normal(size=(6, 10)) * [[1], [10], [1e3], [1e-9], [1e300], [0]]
    np.testing.assert_allclose(softmax(rows), special.softmax(rows, axis=-1), rtol=1e-13)


def test_a_path_joins_means_and_logits_alike() -> None:
    linear, outputs, scale = np.array([[1.0, 2.0]]), np.array([[0.5, -1.0]]), np.array([2.0, 3.0])
    means = RESPONSES["many_to_many"]
    found = means.of_member(linear, means.of_lane(linear, outputs), scale)
    assert found.tolist() == [[2.0, -1.0]]
    for kind, function in (("direction", special.expit), ("quantile_class", special.softmax)):
        response = RESPONSES[kind]  # type: ignore[index]
        found = response.of_member(linear, response.of_lane(linear, outputs), np.ones(2))
        np.testing.assert_allclose(found, function(linear + outputs), rtol=1e-12)
