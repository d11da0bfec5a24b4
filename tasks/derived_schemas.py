"""Schemas of the derived datasets: models, statistics, scores and forecasts.

Owns their columns, and those that facts have too. Never touches keys, order or versions.
"""

from __future__ import annotations

import pyarrow as pa

from tasks.storage.columns import column, count, date, instant, number, numbers, records, text, word

INSTRUMENT = text("instrument", "the thing that is forecast")
KNOWN_AT = instant("known_at", "when the row became known to this store")
_TARGET = text("target", "log_return or log_volatility")
_KIND = text("kind", "kind of network: many_to_many, direction or quantile_class")
_METHOD = text(
    "method",
    "who forecast: lstm, combination, a baseline; in scores also published, in statistics champion "
    "and challenger",
)
AS_OF = instant("as_of", "whose knowledge: nothing known later had influence")
CONFIG_HASH = text("config_hash", "hash of the settings that decide a forecast")
CODE_VERSION = text("code_version", "version of the code that decides a forecast")
RUN_ID = text("run_id", "the run that wrote the row")
ORIGIN = word("origin", "made for its own night, or for a past one", "live", "backfill")
MADE_AT = instant("made_at", "when the row was computed")
_EVALUATION_ID = text("evaluation_id", "one evaluation of one instrument and target")
_LEAD = count("lead", "how far ahead", "sessions")
_LEVEL = "nominal coverage of the interval"

MODELS = pa.schema(
    [
        text("model_id", "hash of all that decides the model"),
        text("shard", "the fleet that it was trained in"),
        INSTRUMENT,
        _TARGET,
        _KIND,
        date("refit_session", "the session after which the model was due"),
        date("cutoff", "the last session of its training data", nullable=True),
        CONFIG_HASH,
        text("data_fingerprint", "hash of the training data"),
        CODE_VERSION,
        word("status", "what came of it", "trained", "diverged", "not_trained"),
        text("reason", "why it diverged or was not trained", nullable=True),
        column(
            "best_update",
            pa.int32(),
            "update whose weights were kept; 0 is what training started from",
            unit="updates",
            nullable=True,
        ),
        number(
            "early_stop_mse",
            "loss on the early-stop segment: mean squared error, mean over leads; of a class kind "
            "the log loss",
            "residual variance of the fit segment, or nats",
            nullable=True,
        ),
        number(
            "initial_early_stop_mse",
            "the same at update 0",
            "residual variance of the fit segment, or nats",
            nullable=True,
        ),
        text("checkpoint", "the fleet's file, relative to the store", nullable=True),
        text(
            "start_model_id",
            "the model whose weights training started from; null: it started from nothing",
            nullable=True,
        ),
        text(
            "champion_model_id",
            "the model of the refit before, that this one was compared with; null: none",
            nullable=True,
        ),
        AS_OF,
        ORIGIN,
        RUN_ID,
        MADE_AT,
        KNOWN_AT,
    ]
)


STATISTICS = pa.schema(
    [
        _EVALUATION_ID,
        INSTRUMENT,
        _TARGET,
        _KIND,
        _METHOD,
        count("fold", "walk-forward fold; 0 is the model that forecasts tonight", "index"),
        word("segment", "part of the fold", "gate", "test"),
        date("cutoff", "the last session that the forecast could see"),
        number(
            "loss",
            "squared error, mean over leads; of a class kind the log loss",
            "target units², or nats",
        ),
        number(
            "difference",
            "squared difference from the default baseline's forecast, mean over leads; not of a "
            "class kind",
            "target units²",
            nullable=True,
        ),
        number(
            "covered",
            "share of the leads whose outcome lay inside the interval at the first level; of the "
            "test segment",
            "share",
            nullable=True,
        ),
        KNOWN_AT,
    ]
)


SCORES = pa.schema(
    [
        text("score_id", "hash of all that decides the score"),
        _EVALUATION_ID,
        INSTRUMENT,
        _TARGET,
        _KIND,
        _LEAD,
        _METHOD,
        count("fold", "walk-forward fold; 0 is the model that forecasts tonight", "index"),
        word("segment", "part of the fold, or the nights since", "gate", "test", "live"),
        date("first_cutoff", "first cutoff scored"),
        date("last_cutoff", "last cutoff scored"),
        count("count", "forecast and target pairs", "pairs", pa.int64()),
        number("mse", "mean squared error; of a class kind that of its mean", "target units²"),
        text("baseline", "the baseline that skill is measured against"),
        number(
            "skill",
            "1 - mse / mse of the baseline on the same pairs; of a class kind the same of log_loss",
            "",
            nullable=True,
        ),
        number("qlike", "QLIKE loss of the implied daily variance", "", nullable=True),
        number("coverage", "share of targets inside the interval", "share", nullable=True),
        number("interval_score", "interval score at level", "target units", nullable=True),
        number("level", _LEVEL, "share", nullable=True),
        number("log_loss", "mean of -ln of the probability of what came", "nats", nullable=True),
        number(
            "brier",
            "Brier score: of a rise (p - o)², of more classes their sum",
            "probability²",
            nullable=True,
        ),
        number("accuracy", "share of pairs whose likeliest class came", "share", nullable=True),
        number(
            "auc",
            "probability that a rise was given a higher one than a fall; direction only",
            "probability",
            nullable=True,
        ),
        number(
            "rps",
            "ranked probability score, mean over the edges",
            "probability²",
            nullable=True,
        ),
        number(
            "coverage_error",
            "standard error of coverage, HAC over the sessions",
            "share",
            nullable=True,
        ),
        records(
            "intervals",
            "coverage and interval score at every configured level",
            ("level", "coverage", "interval_score"),
        ),
        number(
            "rises", "share of outcomes that are a rise; direction only", "share", nullable=True
        ),
        number(
            "called_rises",
            "share of pairs whose probability of a rise is above a half; direction only",
            "share",
            nullable=True,
        ),
        records(
            "calibration",
            "per bin of forecast probability: pairs of forecast and class, their mean probability, "
            "and the share that came; class kinds only",
            ("count", "probability", "came"),
        ),
        number(
            "reliability",
            "mean squared distance of the calibration's bins from the diagonal",
            "probability²",
            nullable=True,
        ),
        text("forecast_id", "the forecast that a live score is of", nullable=True),
        date("target_session", "the session that this forecast was for", nullable=True),
        AS_OF,
        CONFIG_HASH,
        RUN_ID,
        ORIGIN,
        MADE_AT,
        KNOWN_AT,
    ]
)


FORECASTS = pa.schema(
    [
        text("forecast_id", "hash of all that decides the forecast"),
        INSTRUMENT,
        AS_OF,
        date("cutoff", "the last session that the model saw"),
        _TARGET,
        _KIND,
        _LEAD,
        date("target_session", "the session that the forecast is for"),
        number("mean", "the forecast; of a class kind the mean that it implies", "target units"),
        number("lower", "lower end of the interval", "target units"),
        number("upper", "upper end of the interval", "target units"),
        number("level", _LEVEL, "share"),
        number(
            "volatility",
            "daily volatility implied by a log_volatility forecast, corrected for the bias",
            "natural units",
            nullable=True,
        ),
        _METHOD,
        text("reason", "why this method was published"),
        number(
            "probability_up", "probability of a rise; direction only", "probability", nullable=True
        ),
        numbers(
            "probabilities",
            "probability of every class, lowest first; class kinds only",
            "probability",
        ),
        numbers(
            "edges",
            "upper ends of the classes but the last, which belong to them; class kinds only",
            "target units",
        ),
        text(
            "model_id", "the model that was judged, whether or not it was published", nullable=True
        ),
        records(
            "intervals",
            "the interval at every configured level; the first is that of lower and upper",
            ("level", "lower", "upper"),
        ),
        number(
            "recent_coverage",
            "share of the recent matured intervals at the first level that held, mean over leads",
            "share",
            nullable=True,
        ),
        column(
            "drift",
            pa.bool_(),
            "the recent intervals held significantly less often than their level says",
            nullable=True,
        ),
        text("baseline", "the default baseline, published or not", nullable=True),
        number("baseline_mean", "what it forecasts", "target units", nullable=True),
        numbers(
            "baseline_probabilities",
            "its probability of every class, lowest first; class kinds only",
            "probability",
        ),
        number(
            "lstm_mean",
            "what the network forecasts, published or not",
            "target units",
            nullable=True,
        ),
        numbers(
            "lstm_probabilities",
            "its probability of every class, lowest first; class kinds only",
            "probability",
        ),
        number(
            "epsilon",
            "what the log_volatility target adds to the variance: makes its outcome recomputable",
            "natural units²",
            nullable=True,
        ),
        CONFIG_HASH,
        RUN_ID,
        ORIGIN,
        MADE_AT,
        KNOWN_AT,
    ]
)


COMPARISONS = pa.schema(
    [
        text("comparison_id", "hash of all that decides the comparison"),
        text("company", "hash of the evaluations that were compared together"),
        text("instrument", "whose losses; null: pooled over all of them", nullable=True),
        _TARGET,
        _KIND,
        _METHOD,
        text("baseline", "what it is compared with"),
        date("first_cutoff", "first session of the test segments"),
        date("last_cutoff", "last session of the test segments"),
        count("sessions", "sessions compared", "sessions"),
        count("instruments", "instruments compared", "instruments"),
        number("skill", "1 - loss / loss of the baseline on the same pairs", "", nullable=True),
        number("dm_t", "Diebold-Mariano t; above 0 the method is better", "", nullable=True),
        number("dm_p", "its p value, two-sided", "probability", nullable=True),
        number(
            "cw_t",
            "Clark-West t, where the baseline is nested in the method",
            "",
            nullable=True,
        ),
        number("cw_p", "its p value, one-sided", "probability", nullable=True),
        number(
            "q_value",
            "p value that the method is better, adjusted over the instruments (Benjamini-Hochberg)",
            "probability",
            nullable=True,
        ),
        number(
            "mcs_p",
            "p value in the Model Confidence Set of all methods; pooled rows only",
            "probability",
            nullable=True,
        ),
        number(
            "spa_p",
            "p value that no other method beats this one (SPA, consistent); pooled rows only",
            "probability",
            nullable=True,
        ),
        column("seed", pa.int64(), "seed of the bootstrap of both", unit="seed", nullable=True),
        text("reason", "why a test has no answer", nullable=True),
        AS_OF,
        CONFIG_HASH,
        RUN_ID,
        ORIGIN,
        MADE_AT,
        KNOWN_AT,
    ]
)
