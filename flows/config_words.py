"""What fields mean whose models don't describe them: words for `fleetcast init` and the docs.

Owns those words. Never touches values: a field's own description goes first.
"""

from __future__ import annotations

MEANINGS = {
    "targets.names": "What is forecast.",
    "targets.horizon": "Sessions ahead; every lead from 1 to this one gets a forecast.",
    "targets.max_stale": "Sessions that an instrument's newest bar may be old; older ones are "
    "not forecast.",
    "model.kind": "Kind of network.",
    "model.units": "Units of each LSTM.",
    "model.lookback": "Sessions that an LSTM looks back.",
    "model.burn_in": "Steps at a window's start that give no loss: the state is still settling.",
    "model.seeds": "LSTMs per instrument from different initial weights, averaged.",
    "model.skip": "Learn what a frozen linear forecast leaves over, not everything from nothing.",
    "training.learning_rate": "Largest step of the optimiser.",
    "training.warmup_updates": "Updates over which the learning rate rises to its full value.",
    "training.weight_decay": "Decoupled weight decay, as a multiple of the learning rate.",
    "training.clip_norm": "Largest gradient norm of one instrument's LSTM.",
    "training.windows_per_update": "Windows of each instrument in one update.",
    "training.check_every": "Updates between two looks at the early-stop segment.",
    "training.patience": "Looks without a better one until an instrument's LSTM stops.",
    "training.max_updates": "Updates after which training ends in any case.",
    "training.refit_every": "Sessions between two trainings, counted on the exchange's calendar.",
    "training.shard_size": "Instruments that are trained together as one unit of work.",
    "training.fleet_width": "Networks that are computed side by side; fewer are padded.",
    "training.processes": "Shards at the same time, each in a process of its own.",
    "evaluation.folds": "Walk-forward folds; the newest one forecasts tonight.",
    "evaluation.min_fit": "Fewest sessions to fit on; an instrument with less gets a baseline.",
    "evaluation.early_stop": "Sessions that decide when training stops.",
    "evaluation.gate": "Sessions that decide what is published.",
    "evaluation.calibrate": "Sessions whose errors give the intervals.",
    "evaluation.test": "Sessions that score what was decided without them.",
    "evaluation.embargo": "Sessions left out between two segments. Unset: the horizon.",
    "evaluation.level": "Share of outcomes that an interval is to hold.",
}
