"""The tables of benchmarks/QUALITY.md, as Markdown, from panels.

Owns wording and layout. Never computes a figure that `benchmarks.quality.figures` could.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.quality.classics import HISTORY, METHODS, STRIDE
from benchmarks.quality.figures import (
    Ratio,
    coverage,
    direction_tests,
    in_confidence_set,
    ratio,
    skills,
)
from benchmarks.quality.study import Panel, complete
from tasks.decisions import PUBLISHED

LEADS = (1, 5, 10)
_NAMES = {
    "published": "**published**",
    "lstm": "LSTM, ungated",
    "combination": "combination",
    "harx_market": "HARX market (default)",
    "harx_long": "HARX long",
    "harx": "HARX",
    "har": "HAR",
    "ewma": "EWMA",
    "zero": "zero (default)",
    "drift": "drift",
    "ar": "AR",
    "frequencies": "frequencies",
    "climatology": "climatology",
    "logit": "logit",
    "auto_ets": "AutoETS",
    "auto_theta": "AutoTheta",
    "auto_arima": "AutoARIMA",
}
_VOLATILITY = (
    "published",
    "lstm",
    "combination",
    "harx_market",
    "harx_long",
    "harx",
    "har",
    "ewma",
)


def volatility(panel: Panel) -> Iterator[str]:
    """Squared errors and QLIKE beside the HAR family, per lead."""
    yield from _described(panel)
    for lead in LEADS:
        place = lead - 1
        inside = in_confidence_set(panel, _VOLATILITY[1:], place)
        yield ""
        yield (
            f"Lead {lead} | MSE / HAR | / HARX | / HARX long | / HARX market | QLIKE / HAR "
            "| t vs HAR | t vs HARX long | t vs HARX market | in the 90 % MCS"
        )
        yield "---|---|---|---|---|---|---|---|---|---"
        for method in _VOLATILITY:
            losses = panel.losses[method][:, :, place]
            against = {
                name: ratio(losses, panel.losses[name][:, :, place], lead)
                for name in ("har", "harx", "harx_long", "harx_market")
            }
            quasi = ratio(panel.qlike[method][:, :, place], panel.qlike["har"][:, :, place], lead)
            member = "" if method == PUBLISHED else ("yes" if inside[method] else "no")
            yield (
                f"{_NAMES[method]} | {_plain(against['har'])} | {_plain(against['harx'])} "
                f"| {_bounded(against['harx_long'])} | {_plain(against['harx_market'])} "
                f"| {_plain(quasi)} | {_t(against['har'])} | {_t(against['harx_long'])} "
                f"| {_t(against['harx_market'])} | {member}"
            )
    yield from _worst(panel)


def returns(panel: Panel) -> Iterator[str]:
    """Squared errors of the return over all leads beside zero."""
    yield from _described(panel)
    yield ""
    leads = " | ".join(f"skill at {lead}" for lead in LEADS)
    yield f"Method | {leads} | all leads, 95 % interval | t | worst instrument"
    yield "---|" + "---|" * len(LEADS) + "---|---|---"
    for method in ("published", "lstm", "combination", "drift", "ar"):
        losses = panel.losses[method]
        cells = [
            _skill(ratio(losses[:, :, lead - 1], panel.losses["zero"][:, :, lead - 1], lead))
            for lead in LEADS
        ]
        pooled = ratio(losses.mean(axis=2), panel.losses["zero"].mean(axis=2), losses.shape[2])
        own = skills(panel, method)
        worst = min(own, key=lambda name: own[name])
        yield (
            f"{_NAMES[method]} | {' | '.join(cells)} | {_skill(pooled)} "
            f"({100 * (1 - pooled.high):+.2f} to {100 * (1 - pooled.low):+.2f}) | {_t(pooled)} "
            f"| {worst} {100 * own[worst]:+.2f} %"
        )


def classes(panel: Panel) -> Iterator[str]:
    """Log losses of a class kind."""
    yield from _described(panel)
    number = 2 if panel.kind == "direction" else 10
    beside = [name for name in ("frequencies", "climatology", "logit") if name in panel.losses]
    yield ""
    yield (
        f"Method | log loss | less ln {number} | ratio to {panel.baseline}, 95 % interval | t "
        "| less the logit's, ± s.e."
    )
    yield "---|---|---|---|---|---"
    for method in ("published", "lstm", "combination", *beside):
        losses = panel.losses[method][:, :, 0]
        mean = float(np.nanmean(losses))
        against = ratio(losses, panel.losses[panel.baseline][:, :, 0], 1)
        logit = _difference(losses, panel.losses["logit"][:, :, 0])
        yield (
            f"{_NAMES[method]} | {mean:.4f} | {mean - math.log(number):+.4f} "
            f"| {_bounded(against)} | {_t(against)} | {logit}"
        )
    if panel.kind == "direction":
        for method in ("lstm", "logit"):
            found = direction_tests(panel, method)
            high = sum(z > 1.645 for z in found.values())
            yield ""
            yield (
                f"Pesaran–Timmermann, {_NAMES[method]}: {high} of {len(found)} instruments above "
                f"1.645 (one in twenty by luck); mean z "
                f"{np.mean(list(found.values())) if found else math.nan:+.2f}."
            )
    yield from _worst(panel)


def intervals(panels: Sequence[tuple[str, Panel]], level: float) -> Iterator[str]:
    """Coverage of what is published, per target and lead."""
    yield (
        f"Forecast, lead | coverage of the {level:.0%} interval, ± s.e. | lowest and highest "
        "instrument | instruments within 5 points | interval score / constant width's"
    )
    yield "---|---|---|---|---"
    for label, panel in panels:
        for lead in LEADS:
            found = coverage(panel, lead - 1, level)
            yield (
                f"{label}, {panel.target}, {lead} | {100 * found.share:.1f} % ± "
                f"{100 * found.error:.1f} | {100 * found.lowest:.1f} to "
                f"{100 * found.highest:.1f} % | {100 * found.near:.0f} % "
                f"| {found.against_constant:.3f}"
            )


def classical(panels: Sequence[tuple[str, Panel]]) -> Iterator[str]:
    """Squared errors of the classical methods beside the baselines, per lead, on the same pairs."""
    held = [(label, panel) for label, panel in panels if set(METHODS) <= set(panel.losses)]
    names = ", ".join(_NAMES[method] for method in METHODS)
    if not held:
        yield f"Without {names}: statsforecast is not installed."
        return
    yield (
        f"{names} (p and q at most 3) of statsforecast, each on one instrument's series alone: the "
        "log price, or the daily log variance, whose path becomes the log of a mean variance with "
        "one constant per lead for the bias. Fitted when the networks are, on the newest "
        f"{HISTORY:,} sessions; with those parameters they forecast every {STRIDE}th test session. "
        "All rows of a group are on the same pairs. Ratios of squared errors, with their 95 % "
        "intervals; t above 0: better than the baseline named last."
    )
    for target, beside in (("log_volatility", ("har", "harx_market")), ("log_return", ("zero",))):
        shown = [(label, panel) for label, panel in held if panel.target == target]
        if not shown:
            continue
        ratios = [f"/ {_NAMES[name]} at {lead}" for name in beside for lead in LEADS]
        header = [f"MSE of {target}", "pairs", *ratios, *(f"t at {lead}" for lead in LEADS)]
        yield ""
        yield " | ".join(header)
        yield "|".join(["---"] * len(header))
        for label, panel in shown:
            yield from _classical_rows(label, panel, beside)


def _classical_rows(label: str, panel: Panel, beside: Sequence[str]) -> Iterator[str]:
    pairs = complete(panel, [PUBLISHED, *METHODS, *beside])
    for method in (PUBLISHED, *METHODS):
        found = {
            (name, lead): ratio(
                np.where(pairs, panel.losses[method][:, :, lead - 1], np.nan),
                np.where(pairs, panel.losses[name][:, :, lead - 1], np.nan),
                math.ceil(lead / STRIDE),  # in sessions that were forecast
            )
            for name in beside
            for lead in LEADS
        }
        cells = [
            *(_bounded(found[name, lead]) for name in beside for lead in LEADS),
            *(_t(found[beside[-1], lead]) for lead in LEADS),
        ]
        yield f"{label}, {_NAMES[method]} | {pairs.sum():,} | {' | '.join(cells)}"


def _described(panel: Panel) -> Iterator[str]:
    chosen = ", ".join(f"{_NAMES[m].strip('*')} {100 * s:.0f} %" for m, s in panel.chosen.items())
    pairs = int(np.isfinite(panel.losses[panel.baseline]).all(axis=2).sum())
    yield (
        f"{len(panel.instruments)} instruments, {len(panel.sessions):,} test sessions "
        f"({panel.sessions[0]} to {panel.sessions[-1]}), {pairs:,} pairs per lead. The gate "
        f"published: {chosen} of instruments and folds."
    )
    for name, reason in panel.not_fitted.items():
        yield f"Without {name}: {reason}."


def _worst(panel: Panel) -> Iterator[str]:
    yield ""
    for method in (PUBLISHED, "lstm"):
        own = skills(panel, method)
        worst, best = (pick(own, key=lambda name: own[name]) for pick in (min, max))
        yield (
            f"{_NAMES[method]} against {_NAMES[panel.baseline]}, all leads: {worst} "
            f"{100 * own[worst]:+.2f} % to {best} {100 * own[best]:+.2f} %.  "
        )


def _difference(losses: np.ndarray, other: np.ndarray) -> str:
    found = ratio(losses, other, 1)
    both = np.isfinite(losses) & np.isfinite(other)
    scale = float(other[both].mean())
    return f"{(found.value - 1) * scale:+.4f} ± {(found.high - found.low) / 3.92 * scale:.4f}"


def _plain(found: Ratio) -> str:
    return f"{found.value:.3f}"


def _bounded(found: Ratio) -> str:
    return f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"


def _skill(found: Ratio) -> str:
    return f"{100 * (1 - found.value):+.2f} %"


def _t(found: Ratio) -> str:
    return "" if math.isnan(found.t) else f"{found.t:+.1f}"
