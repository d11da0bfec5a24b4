"""What the tables mean and how they came about, in sentences.

Owns the words. Never touches data; what is said of figures is computed from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.long_horizon import published
from benchmarks.long_horizon.experiment import LSTM, REPEAT, Outcome
from benchmarks.long_horizon.gate import CONFIG
from benchmarks.long_horizon.lstm import RECIPE, SCORED_ON_TEST, SPANS, STEP, TRIED_ON_VALIDATION
from benchmarks.long_horizon.protocol import BATCH, Errors, Split
from benchmarks.long_horizon.series import LARGEST_REMAINDER, NAMES, SMALLEST_JUMP, BadTick


def check_sentence(outcomes: Sequence[Outcome]) -> str:
    """Whether the harness measures what the paper measured; outcomes of the file as it is."""
    known = [one for one in outcomes if one.horizon in published.REPEAT]
    missed = [
        str(one.horizon)
        for one in known
        if not published.reproduced(one.horizon, one.tested[REPEAT])
    ]
    if not known:
        return "**Check of the harness: none of these horizons has a published figure.**"
    if missed:
        return (
            "**Check of the harness: FAILED. Repeat does not come out at the published figures at "
            f"{_list(missed)}.**"
        )
    return (
        f"**Check of the harness: passed.** Repeat, scored as the published code does, comes out "
        f"at its published MSE and MAE at {_list([str(one.horizon) for one in known])}, to the "
        "third decimal."
    )


def meaning(raw: Sequence[Outcome], cleaned: Sequence[Outcome], split: Split) -> list[str]:
    """What the tables say, one sentence or two an item."""
    longest = raw[-1]
    said = [_gate_sentence(raw), _promise_sentence(raw), _promise_sentence(cleaned, cleaned=True)]
    said += _hac_sentence(longest)
    windows, apart = longest.on_validation.windows, longest.on_validation.apart
    shared = max(longest.horizon - windows + 1, 0)
    said.append(
        f"Validation at {longest.horizon} has {windows} windows"
        + (f" that all share {shared} of their {longest.horizon} targets" if shared else "")
        + f": about {apart} independent observation{'s' * (apart > 1)} per series, of series that "
        "share the dollar. Whatever looks good on it is nothing to celebrate."
    )
    rows = split.rows - split.test
    tests = [f"{rows // one.horizon} at {one.horizon}" for one in raw]
    said.append(
        f"The {rows:,} test rows hold {', '.join(tests)} windows that do not overlap. Whoever "
        "ranks methods by the last column ranks them by so many draws of eight correlated series."
    )
    said.append(_dlinear_sentence())
    said.append(_batch_sentence(longest))
    said.append(_tick_sentence(raw, cleaned))
    return said


def protocol(split: Split, ticks: Sequence[BadTick]) -> list[str]:
    """What was done, one item each."""
    cells = ", ".join(f"{row} {NAMES[series]} {jump:+.3f}" for row, series, jump in ticks)
    inside = ", ".join(f"{row} {NAMES[series]}" for row, series, _ in ticks if row >= split.test)
    return [
        f"Rows {split.train} / {split.test - split.train} / {split.rows - split.test} to train, "
        "validate and test. Each series less its training mean, over its training standard "
        "deviation. All windows, one row apart, and every step of them.",
        f"*Last batch left out*: only full batches of {BATCH} test windows, as in the published "
        "code for Repeat (lookback 96, which changes no window here: input windows reach back "
        "over the border). DLinear's own script has batches of 8 at 96 and 192.",
        "Repeat: the last value. Drift: the mean training change, times the lead. AR: the change "
        "to each lead, by least squares on a constant and the last five changes, on training rows.",
        f"LSTM: a network per series and horizon, {RECIPE.units} units, lookback "
        f"{RECIPE.lookback}, mean of {RECIPE.seeds} seeds, on the changes over "
        f"{', '.join(map(str, SPANS))} rows and the size of the last change. It forecasts the "
        f"change from the last value at every {STEP}th lead; a straight line lies between them. "
        "Before its first update it is Repeat. Trained on training rows; the MSE of the validation "
        "windows says when it stops and which weights are kept.",
        "Weights and the order of windows are drawn from the names of the series and the number "
        "of the seed (0, 1): there is no other randomness.",
        "Gate: the rule of the nightly run with its own levels (`tasks.gate`), on the validation "
        f"windows, Repeat as the baseline; {CONFIG.min_sessions} non-overlapping windows are the "
        "least it hears. Those windows have also said when to stop, which flatters the LSTM.",
        f"Bad ticks: a log change of more than {SMALLEST_JUMP:.0%} of which the next row takes "
        f"back all but {LARGEST_REMAINDER:.0%}. Each is replaced by the value before it, in "
        f"training and test alike, before anything is fitted. The rule finds {len(ticks)} cells "
        f"(0-based row, series, log change): {cells or 'none'}. Inside the test rows: "
        f"{inside or 'none'}. It reads the row after the tick, so it cleans a history and could "
        "not have helped on the day.",
        f"Recipes of the LSTM compared on validation, bad ticks removed: {TRIED_ON_VALIDATION}. "
        f"Recipes ever scored on the test rows: {SCORED_ON_TEST}, at every horizon, with the bad "
        "ticks and without.",
    ]


def _gate_sentence(outcomes: Sequence[Outcome]) -> str:
    let_in = [one for one in outcomes if any(d.method == "lstm" for d in one.gate)]
    if let_in:
        at = _list([str(one.horizon) for one in let_in])
        return f"The gate publishes the LSTM for some series at {at}, and Repeat otherwise."
    first = outcomes[0]
    counts = [f"{one.on_validation.windows // one.horizon} at {one.horizon}" for one in outcomes]
    return (
        "The gate publishes Repeat everywhere. It does not say that the LSTM is worse, but that "
        f"validation is too short to tell. In its own words, of {first.gate[0].instrument} at "
        f"{first.horizon} (`zero` is no change, hence Repeat): *{first.gate[0].reason}*. Windows "
        f"over horizon, rounded down, are {', '.join(counts)}."
    )


def _promise_sentence(outcomes: Sequence[Outcome], *, cleaned: bool = False) -> str:
    """What validation promised of the LSTM, and what test then gave."""
    promised = [_gain(one.validation, one.horizon) for one in outcomes]
    given = [_gain(one.tested, one.horizon) for one in outcomes]
    return (
        f"{'Without the bad ticks' if cleaned else 'With the file as it is'}, the ungated LSTM's "
        f"MSE differs from Repeat's on validation by {', '.join(promised)}, and on all test "
        f"windows by {', '.join(given)}; above zero is worse."
    )


def _hac_sentence(outcome: Outcome) -> list[str]:
    """What the HAC test alone would have made of validation, where it is fooled."""
    test = outcome.on_validation.test
    if test.statistic is None or test.p_value > CONFIG.significance or test.mean <= 0.0:
        return []
    return [
        f"The HAC test alone is fooled at {outcome.horizon}: t = {test.statistic:.1f} on "
        f"{test.count} validation windows. They are nearly copies of one another, so their "
        "variance says nothing of the next window, and no estimate from them can. What keeps the "
        "gate shut is its count of windows that do not overlap."
    ]


def _dlinear_sentence() -> str:
    better = [
        str(horizon)
        for horizon in published.HORIZONS
        if published.REPEAT[horizon][1] < published.DLINEAR[horizon][1]
    ]
    return (
        "DLinear's published MSE is no larger than Repeat's at any horizon, but by the published "
        f"MAE Repeat is better at {_list(better)}: only {published.HORIZONS[-1]} is a win by "
        "both."
    )


def _batch_sentence(outcome: Outcome) -> str:
    repeat = outcome.tested[REPEAT]
    left_out = len(repeat.squared) % BATCH
    (whole_mse, whole_mae), (mse, mae) = repeat.scores(), repeat.scores(batch=BATCH)
    return (
        f"The {left_out} windows that the published code leaves out at {outcome.horizon} change "
        f"Repeat from {whole_mse:.4f} / {whole_mae:.4f} to {mse:.4f} / {mae:.4f}, the "
        f"MSE by {mse / whole_mse - 1.0:+.1%}."
    )


def _tick_sentence(raw: Sequence[Outcome], cleaned: Sequence[Outcome]) -> str:
    changes = [
        f"{before.tested[REPEAT].scores()[0]:.4f} to {after.tested[REPEAT].scores()[0]:.4f} at "
        f"{before.horizon}"
        for before, after in zip(raw, cleaned, strict=True)
    ]
    return (
        f"Without the bad ticks Repeat's MSE over all windows goes from {', '.join(changes)}. "
        "Both units and targets change: training ticks count in the standard deviations."
    )


def _gain(scored: Mapping[str, Errors], horizon: int) -> str:
    ratio = scored[LSTM].scores()[0] / scored[REPEAT].scores()[0]
    return f"{ratio - 1.0:+.1%} at {horizon}"


def _list(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
