import pytest

from lstm_models.features import FEATURES, columns


def test_a_name_gives_its_position() -> None:
    assert [FEATURES[position] for position in columns(("log_variance_22", "log_return"))] == [
        "log_variance_22",
        "log_return",
    ]


def test_an_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"unknown features \['log_varaince_1'\].*log_variance_1"):
        columns(("log_return", "log_varaince_1"))
