"""The gate: recomputed by hand, at its edges, and by simulation."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmarks.gate_simulation import BASELINE, World, losses, statistics_table
from tasks.evidence import TIE
from tasks.gate import Decision, GateConfig, decide, decide_at
from tasks.significance import hac_test
from tests.tasks.gate_reference import reference

Floats = NDArray[np.float64]
HORIZON = 5
RULE = GateConfig()
ONLY_LSTM = GateConfig(candidates=("lstm",))


def history(
    *advantages: float, sessions: int = 504, seed: int = 0, difference: float = 0.15
) -> dict[str, Floats]:
    world = World(advantages, sessions=sessions, difference=difference)
    return losses(world, np.random.default_rng(seed))


def decided(
    drawn: dict[str, Floats],
    rule: GateConfig = RULE,
) -> tuple[Decision, ...]:
    return decide(statistics_table(drawn, folds=2), rule, horizon=HORIZON)


def replaced(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table


def better(seed: int = 0) -> dict[str, Floats]:
    return history(0.5, 0.5, 0.5, difference=0.4, seed=seed)


def test_a_candidate_that_is_better_is_published_with_its_figures() -> None:
    drawn = better()
    decisions = decided(drawn, ONLY_LSTM)
    assert [decision.instrument for decision in decisions] == ["I000", "I001", "I002"]
    differential = drawn[BASELINE] - drawn["lstm"]
    scaled = differential / drawn[BASELINE].mean(axis=1, keepdims=True)
    by_hand = hac_test(scaled.mean(axis=0), horizon=HORIZON)
    assert by_hand.statistic is not None
    for position, decision in enumerate(decisions):
        assert decision.method == decision.candidate == "lstm"
        assert decision.baseline == BASELINE
        assert decision.t_statistic == pytest.approx(by_hand.statistic)
        assert decision.p_value == pytest.approx(by_hand.p_value)
        own = 100 * (1 - drawn["lstm"][position].mean() / drawn[BASELINE][position].mean())
        assert decision.reason == (
            f"lstm beats {BASELINE} on 504 gate sessions pooled over 3 instruments: "
            f"t = {by_hand.statistic:.2f}, p = {by_hand.p_value:.3g}; own gate skill {own:+.1f} %"
        )


def test_a_candidate_that_is_not_better_is_not_published() -> None:
    for decision in decided(history(-0.5, -0.5)):
        assert decision.method == BASELINE
        assert decision.candidate in {"lstm", "combination"}
        assert decision.t_statistic is not None
        assert decision.t_statistic < 0
        assert decision.reason == (
            f"baseline {BASELINE}: {decision.candidate} did not beat it (pooled "
            f"t = {decision.t_statistic:.2f}, p = {decision.p_value:.3g}, needed p ≤ 0.05)"
        )


def test_of_two_that_pass_the_larger_t_is_chosen() -> None:
    drawn = better()
    for swapped in (False, True):
        names = ("combination", "lstm") if swapped else ("lstm", "combination")
        case = dict(zip(names, (drawn["lstm"], drawn["combination"]), strict=True))
        statistics = {
            name: hac_test(
                ((drawn[BASELINE] - loss) / drawn[BASELINE].mean(axis=1, keepdims=True)).mean(
                    axis=0
                ),
                horizon=HORIZON,
            ).statistic
            or 0.0
            for name, loss in case.items()
        }
        assert min(statistics.values()) > 2
        chosen = max(statistics, key=statistics.__getitem__)
        decisions = decided({BASELINE: drawn[BASELINE], **case})
        assert {decision.method for decision in decisions} == {chosen}


def test_the_level_decides() -> None:
    drawn = history(0.25, 0.25, seed=3)
    p_value = decided(drawn)[0].p_value
    assert p_value is not None
    for significance, published in ((p_value * 1.01, True), (p_value * 0.99, False)):
        decisions = decided(drawn, GateConfig(significance=significance))
        assert any(decision.method != BASELINE for decision in decisions) == published


def test_an_instrument_on_which_it_did_worse_keeps_the_baseline() -> None:
    drawn = better()
    drawn["lstm"][1] = drawn[BASELINE][1] * 1.05
    decisions = decided(drawn, ONLY_LSTM)
    assert [decision.method for decision in decisions] == ["lstm", BASELINE, "lstm"]
    assert decisions[1].candidate == "lstm"
    assert decisions[1].t_statistic == decisions[0].t_statistic
    assert decisions[1].reason.startswith(
        f"baseline {BASELINE}: lstm beats it on 504 gate sessions"
    )
    assert decisions[1].reason.endswith("but not on I001: own gate skill -5.0 %")


def test_the_veto_can_ask_for_more_or_less() -> None:
    drawn = better()
    own = [
        hac_test((drawn[BASELINE] - drawn["lstm"])[position], horizon=HORIZON).statistic or 0.0
        for position in range(3)
    ]
    level = (min(own) + sorted(own)[1]) / 2
    assert 0 < level < 3
    strict = decided(drawn, GateConfig(candidates=("lstm",), veto_t=level))
    assert [decision.method == "lstm" for decision in strict] == [t > level for t in own]
    vetoed = strict[int(np.argmin(own))]
    assert vetoed.reason.endswith(f"own t = {min(own):.2f}, needed > {level:.6g}")
    drawn["lstm"][1] = drawn[BASELINE][1] * 1.001
    still_no = decided(drawn, GateConfig(candidates=("lstm",), veto_t=-3))
    assert still_no[1].method == BASELINE


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_a_tie_means_the_baseline(noise: float) -> None:
    drawn = better()
    shake = 1 - noise * np.random.default_rng(1).random(drawn[BASELINE].shape)
    drawn["lstm"] = drawn["combination"] = drawn[BASELINE] * shake
    for decision in decided(drawn):
        assert decision.method == BASELINE
        assert "lstm is level with it" in decision.reason
        assert decision.p_value is None or decision.p_value <= 1


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_a_tie_on_one_instrument_means_the_baseline_there(noise: float) -> None:
    drawn = better()
    shake = 1 - noise * np.random.default_rng(1).random(drawn[BASELINE].shape[1])
    drawn["lstm"][2] = drawn[BASELINE][2] * shake
    decisions = decided(drawn, ONLY_LSTM)
    assert [decision.method for decision in decisions] == ["lstm", "lstm", BASELINE]
    assert decisions[2].reason.endswith("but not on I002: own gate skill +0.0 %")


def test_too_few_sessions_mean_the_baseline() -> None:
    drawn = {method: loss[:, :199] for method, loss in better().items()}
    for decision in decided(drawn):
        assert (decision.method, decision.candidate, decision.t_statistic) == (BASELINE, None, None)
        assert decision.reason == (
            f"baseline {BASELINE}: 199 gate sessions hold 39 that do not overlap at horizon 5, and "
            "lstm needs 40 to be judged"
        )
    enough = {method: loss[:, :200] for method, loss in better().items()}
    assert all(decision.t_statistic is not None for decision in decided(enough))


def without(table: pa.Table, instrument: str, **conditions: int | str) -> pa.Table:
    drop = pc.equal(table["instrument"], instrument)
    for name, value in conditions.items():
        drop = pc.and_(drop, pc.equal(table[name], value))
    return table.filter(pc.invert(drop))


def test_one_short_instrument_does_not_hold_up_the_others() -> None:
    drawn = better()
    table = statistics_table(drawn, folds=6)
    for fold in range(4):
        table = without(table, "I001", fold=fold)
    decisions = decide(table, ONLY_LSTM, horizon=HORIZON)
    assert [decision.method for decision in decisions] == ["lstm", BASELINE, "lstm"]
    assert "168 gate sessions hold 33" in decisions[1].reason
    assert "pooled over 2 instruments" in decisions[0].reason


def test_a_method_that_is_missing_or_broken_is_said_and_harms_no_other() -> None:
    drawn = history(0.5, 0.5, 0.5, 0.5, 0.5, difference=0.4)
    drawn["lstm"][0, 7] = np.nan
    drawn["lstm"][1, 3:5] = np.inf
    drawn[BASELINE][2, 9] = np.nan
    table = without(statistics_table(drawn, 2), "I003", method="lstm")
    decisions = decide(table, ONLY_LSTM, horizon=HORIZON)
    assert [decision.reason for decision in decisions[:4]] == [
        f"baseline {BASELINE}: lstm has no finite loss on 1 of 504 gate sessions",
        f"baseline {BASELINE}: lstm has no finite loss on 2 of 504 gate sessions",
        f"baseline {BASELINE}: {BASELINE} has no finite loss on 1 of 504 gate sessions",
        f"baseline {BASELINE}: lstm and {BASELINE} have no gate session in common to be compared "
        "on",
    ]
    assert {(decision.method, decision.candidate) for decision in decisions[:4]} == {
        (BASELINE, None)
    }
    by_hand = hac_test((drawn[BASELINE] - drawn["lstm"])[4], horizon=HORIZON)
    assert decisions[4].t_statistic == pytest.approx(by_hand.statistic)


def test_an_instrument_whose_baseline_never_errs_keeps_it() -> None:
    drawn = better()
    drawn[BASELINE][1] = 0.0
    decisions = decided(drawn, ONLY_LSTM)
    assert [decision.method for decision in decisions] == ["lstm", BASELINE, "lstm"]
    assert "it made no error on 504 gate sessions" in decisions[1].reason


def test_a_volatile_instrument_weighs_no_more_than_a_calm_one() -> None:
    drawn = better()
    before = decided(drawn)
    for loss in drawn.values():
        loss[1] *= 1e6
    after = decided(drawn)
    assert after[0].t_statistic == pytest.approx(before[0].t_statistic)


def test_sessions_shared_by_folds_count_once() -> None:
    drawn = better()
    table = statistics_table(drawn, folds=1)
    folds = []
    for fold, factor in enumerate((0.5, 1.5)):
        scaled = {method: loss * factor for method, loss in drawn.items()}
        number = pa.array(np.full(len(table), fold, np.int32))
        folds.append(replaced(statistics_table(scaled, folds=1), fold=number))
    twice = decide(pa.concat_tables(folds), ONLY_LSTM, horizon=HORIZON)
    once = decide(table, ONLY_LSTM, horizon=HORIZON)
    assert [decision.reason for decision in twice] == [decision.reason for decision in once]
    assert "on 504 gate sessions" in twice[0].reason


def test_only_gate_rows_count() -> None:
    table = statistics_table(better(), folds=2)
    before = decide(table, RULE, horizon=HORIZON)
    worse = pc.multiply(table["loss"], pc.if_else(pc.equal(table["method"], BASELINE), 1.0, 100.0))
    test_rows = replaced(table, segment=pa.repeat("test", len(table)), loss=worse)
    assert decide(pa.concat_tables([table, test_rows]), RULE, horizon=HORIZON) == before
    # The leak that this guards against: the same rows, taken for gate rows, decide otherwise.
    leaked = replaced(test_rows, segment=pa.repeat("gate", len(table)))
    methods = {decision.method for decision in decide(leaked, RULE, horizon=HORIZON)}
    assert methods == {BASELINE}
    assert BASELINE not in {decision.method for decision in before}


@given(st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    table = statistics_table(better(), folds=2)
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = table.take(pa.array(order))
    assert decide(shuffled, RULE, horizon=HORIZON) == decide(table, RULE, horizon=HORIZON)


def test_targets_are_decided_apart_and_in_order() -> None:
    volatility = statistics_table(better(), folds=2)
    returns = replaced(
        volatility,
        target=pa.repeat("log_return", len(volatility)),
        method=pc.if_else(pc.equal(volatility["method"], BASELINE), "zero", volatility["method"]),
    )
    both = decide(pa.concat_tables([volatility, returns]), RULE, horizon=HORIZON)
    assert [(decision.target, decision.baseline) for decision in both] == [
        ("log_return", "zero")
    ] * 3 + [("log_volatility", BASELINE)] * 3
    assert both[3:] == decide(volatility, RULE, horizon=HORIZON)


@pytest.mark.parametrize(
    ("kind", "target", "baseline"),
    [
        ("direction", "log_return", "frequencies"),
        ("quantile_class", "log_return", "climatology"),
    ],
)
def test_a_class_kind_has_its_own_baseline_and_a_horizon_of_one(
    kind: str, target: str, baseline: str
) -> None:
    """A loss spans one session, so every session counts on its own."""
    drawn = history(0.5, 0.5, sessions=RULE.min_sessions + 10, difference=1.5)
    drawn[baseline] = drawn.pop(BASELINE)
    table = statistics_table(drawn, folds=1)
    classes = replaced(
        table, kind=pa.repeat(kind, len(table)), target=pa.repeat(target, len(table))
    )
    for decision in decide(classes, RULE, horizon=HORIZON):
        assert (decision.kind, decision.baseline) == (kind, baseline)
        assert decision.method in {"lstm", "combination"}
        assert f"beats {baseline} on {RULE.min_sessions + 10} gate sessions" in decision.reason
    assert decide(classes, RULE, horizon=1) == decide(classes, RULE, horizon=HORIZON)


def test_no_rows_give_no_decisions() -> None:
    assert decide(statistics_table(better(), 2).slice(0, 0), RULE, horizon=HORIZON) == ()


def test_one_instrument_alone_is_a_group() -> None:
    drawn = history(0.5, difference=0.5)
    (decision,) = decided(drawn, ONLY_LSTM)
    assert decision.method == "lstm"
    assert "pooled over 1 instrument:" in decision.reason


def test_tables_that_cannot_be_judged_are_refused() -> None:
    table = statistics_table(better(), folds=2)
    with pytest.raises(ValueError, match=f"{BASELINE} has 2 losses for I000"):
        decide(pa.concat_tables([table, table]), RULE, horizon=HORIZON)
    prices = replaced(table, target=pa.repeat("price", len(table)))
    with pytest.raises(ValueError, match=r"'price' has no default baseline.*'log_volatility'\]"):
        decide(prices, RULE, horizon=HORIZON)
    other = replaced(
        table,
        evaluation_id=pa.repeat("another", len(table)),
        fold=pa.array(np.full(len(table), 7, np.int32)),
    )
    with pytest.raises(
        ValueError, match="I000 log_volatility many_to_many has gate rows of 2 eval"
    ):
        decide(pa.concat_tables([table, other]), RULE, horizon=HORIZON)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("significance", 0.0, "greater than 0"),
        ("significance", 0.5, "less than 0.5"),
        ("min_sessions", 7, "greater than or equal to 8"),
        ("veto_t", 4, "less than or equal to 3"),
        ("keep_significance", 0.04, r"keep_significance must be at least significance \(0.05\)"),
        ("candidates", (), "at least 1 item"),
        ("candidates", ("lstn",), "'lstm' or 'combination'"),
        ("candidates", ("lstm", "lstm"), "candidates must be distinct"),
        ("signifcance", 0.05, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_configuration_is_refused(field: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GateConfig.model_validate({field: value})


def test_a_tie_is_smaller_than_any_skill_that_is_printed() -> None:
    assert 100 * TIE < 0.05


def played(
    *edges: Sequence[float], span: int = 252, seed: int = 0, base: Floats | None = None
) -> dict[str, Floats]:
    """Losses of an LSTM that is better by so much, in each span of sessions, of each instrument.

    The noise about it has mean zero in every span, so that the means are as stated.
    """
    random = np.random.default_rng(seed)
    shape = (len(edges), len(edges[0]), span)
    if base is None:
        base = 3.0 + random.normal(0.0, 0.3, (shape[0], shape[1] * span))
    noise = random.normal(0.0, 0.3, shape)
    noise -= noise.mean(axis=2, keepdims=True)
    edge = (np.asarray(edges)[..., None] + noise).reshape(base.shape)
    return {BASELINE: base, "lstm": base - edge}


def in_time(drawn: dict[str, Floats], rule: GateConfig) -> list[tuple[Decision, ...]]:
    """What is decided at the end of every fold's gate, the oldest first."""
    folds = drawn[BASELINE].shape[1] // 252
    table = statistics_table(drawn, folds)
    ends = [table["cutoff"][252 * (fold + 1) - 1].as_py() for fold in range(folds)]
    found = decide_at(table, rule, horizon=HORIZON, limits=ends)
    assert found[ends[-1]] == decide(table, rule, horizon=HORIZON)
    return [found[end] for end in ends]


WAVERING = played((0.06, -0.03, -0.1), (0.06, -0.03, -0.1))
"""Better in the first year and worse in the next two: proved, then doubtful, then lost."""
LAX = GateConfig(candidates=("lstm",), keep_significance=0.45)


def test_what_was_published_stays_on_easier_terms_than_it_came() -> None:
    proved, doubtful, lost = in_time(WAVERING, LAX)
    assert [(d.method, d.kept) for d in proved] == [("lstm", False)] * 2
    p_value = doubtful[0].p_value
    assert p_value is not None
    assert 0.05 < p_value <= 0.45
    for decision in doubtful:
        assert (decision.method, decision.kept) == ("lstm", True)
        assert decision.reason.startswith(
            f"lstm kept in place of {BASELINE} on 504 gate sessions pooled over 2 instruments: "
            f"t = {decision.t_statistic:.2f}, p = {p_value:.3g}, needed p ≤ 0.45 to stay; own"
        )
    assert {d.method for d in lost} == {BASELINE}
    assert all("needed p ≤ 0.05" in d.reason for d in lost)


def test_without_easier_terms_there_is_no_memory() -> None:
    strict = GateConfig(candidates=("lstm",), keep_significance=0.05)
    _, doubtful, _ = in_time(WAVERING, strict)
    assert {d.method for d in doubtful} == {BASELINE}
    # What was never published has nothing to stay: the same p, another history.
    first, second = in_time(played((-0.03, 0.06), (-0.03, 0.06)), LAX)
    assert {d.method for d in (*first, *second)} == {BASELINE}
    assert 0.05 < (second[0].p_value or 1.0) <= 0.45


def test_nobody_comes_on_the_terms_of_those_who_stay() -> None:
    """An instrument that was vetoed when the candidate was proved waits until it is again."""
    first, second = in_time(played((0.06, -0.05), (0.06, -0.05), (-0.01, 0.06)), LAX)
    assert [d.method for d in first] == ["lstm", "lstm", BASELINE]
    assert "but not on I002" in first[2].reason
    assert 0.05 < (second[0].p_value or 0.0) <= 0.45
    assert [d.kept for d in second] == [True, True, False]
    assert second[2].method == BASELINE
    assert "did not beat it" in second[2].reason


def test_one_on_which_what_stays_did_worse_keeps_it_no_longer() -> None:
    first, second = in_time(played((0.06, -0.01), (0.06, -0.07)), LAX)
    assert [d.method for d in first] == ["lstm", "lstm"]
    assert [(d.method, d.kept) for d in second] == [("lstm", True), (BASELINE, False)]
    assert "lstm may stay on 504 gate sessions" in second[1].reason
    assert second[1].reason.endswith("but not on I001: own gate skill -0.2 %")


@pytest.mark.parametrize(("edge", "chosen"), [(0.03, "lstm"), (0.15, "combination")])
def test_another_candidate_must_itself_be_proved(edge: float, chosen: str) -> None:
    drawn = played((0.06, -0.03), (0.06, -0.03))
    other = played((0.0, edge), (0.0, edge), seed=1, base=drawn[BASELINE])["lstm"]
    rule = GateConfig(keep_significance=0.45)
    first, second = in_time({**drawn, "combination": other}, rule)
    assert {d.method for d in first} == {"lstm"}
    assert {(d.method, d.kept) for d in second} == {(chosen, chosen == "lstm")}
    (alone,) = in_time({**drawn, "lstm": other}, LAX)[1][:1]
    # The larger t alone is not enough.
    assert (alone.t_statistic or 0.0) > (second[0].t_statistic or 0.0) - 1e-9
    assert ((alone.p_value or 1.0) <= 0.05) == (chosen == "combination")


def test_steps_are_the_days_on_which_most_instruments_end_a_fold() -> None:
    """One instrument's longer segment is no step: there, nothing would have stayed."""
    drawn = played(*[(0.06, 0.06, -0.14, 0.06)] * 3, span=126)
    table = statistics_table(drawn, 2)
    before = decide(table, LAX, horizon=HORIZON)
    assert [d.kept for d in before] == [True] * 3
    later = table["cutoff"][377].as_py()
    for odd, kept in ((["I002"], True), (["I001", "I002"], False)):
        own = pc.is_in(table["instrument"], value_set=pa.array(odd))
        longer = pc.and_(own, pc.less_equal(table["cutoff"], later))
        fold = pc.if_else(longer, pa.scalar(1, pa.int64()).cast(pa.int32()), table["fold"])
        after = decide(replaced(table, fold=fold), LAX, horizon=HORIZON)
        assert [d.kept for d in after] == [kept] * 3


def test_an_independent_reading_of_the_rule_decides_the_same() -> None:
    rule = GateConfig(keep_significance=0.45)
    answers: list[tuple[str, bool]] = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        edges = np.array([0.05, -0.04, 0.03]) + random.normal(0.0, 0.02, (3, 3))
        drawn = played(*edges, seed=seed)
        other = played(*edges[:, ::-1], seed=seed + 50, base=drawn[BASELINE])["lstm"]
        table = statistics_table({**drawn, "combination": other}, folds=3)
        expected = reference(table.to_pylist(), rule, horizon=HORIZON)
        found = decide(table, rule, horizon=HORIZON)
        assert {d.instrument: (d.method, d.kept) for d in found} == expected
        answers += expected.values()
    assert {method for method, _ in answers} == {BASELINE, "lstm", "combination"}
    assert {kept for _, kept in answers} == {True, False}


def test_constant_differences_and_an_all_missing_baseline_mean_the_baseline() -> None:
    """There is no variance to test against, or there are no pairs."""
    drawn = better()
    drawn["lstm"] = drawn["combination"] = drawn[BASELINE] * 0 + 1.0
    drawn[BASELINE] = drawn["lstm"] + 0.1
    for decision in decided(drawn):
        assert decision.method == BASELINE
        assert decision.reason.endswith("is level with it (the losses differ by a constant)")
    table = statistics_table(better(), folds=2)
    missing = table.filter(pc.not_equal(table["method"], BASELINE))
    for decision in decide(missing, RULE, horizon=HORIZON):
        assert (decision.method, decision.candidate) == (BASELINE, None)
        assert "have no gate session in common to be compared on" in decision.reason
    nothing = replaced(table, loss=pa.array(np.full(len(table), np.nan)))
    for decision in decide(nothing, RULE, horizon=HORIZON):
        assert decision.method == BASELINE
        assert f"{BASELINE} has no finite loss on 504 of 504 gate sessions" in decision.reason


def test_a_day_that_is_asked_about_some_is_decided_by_all() -> None:
    drawn = played(*[(0.06, 0.06, -0.14, 0.06)] * 3, span=126)
    table = statistics_table(drawn, 2)
    step, between, last = (table["cutoff"][row].as_py() for row in (251, 400, 503))
    days = [step, between, last]
    everyone = decide_at(table, LAX, horizon=HORIZON, limits=days)
    wanted = {step: {"I000"}, between: {"I001"}}
    found = decide_at(table, LAX, horizon=HORIZON, limits=days, wanted=wanted)
    assert found[between] == everyone[between][1:2]
    # A step is decided for all: what was published there is asked for later.
    assert (found[step], found[last]) == (everyone[step], everyone[last])
    assert {d.method for d in everyone[step]} == {"lstm"}
