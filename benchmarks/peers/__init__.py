"""The fleet beside what a user could pick instead: one process per side, the same pairs for all.

`python -m benchmarks.peers` trains one LSTM per instrument on every side and prints two tables. The
rules, for all sides alike:

- The same bars, features, chronological segments (fit, early stop, test; `horizon` rows apart),
  lookback, state size, horizon and target: the log of the daily variance of each of the next
  `horizon` sessions. (Not `log_volatility`, whose longer leads are means over sessions: darts and
  neuralforecast forecast a series' own next values, and nothing else.)
- Every parameter, scaler and baseline is fitted on the fit rows; the early-stop rows decide when
  to stop and which weights to keep.
- A side's validation MSE is measured here, from its own predictions of the same rows and leads.
  The peers' clocks stand still meanwhile, so they get their early stopping for nothing; the
  fleet's own checks run inside its compiled program and count.
- Clocks start after imports. Tracing and compiling count on every side; the fleet's is also given.
- Peers keep their defaults (Adam, learning rate 1e-3, batch size) but for the size of the network.
- One thread for everybody. A worker of the nightly run has one, and the peers are quicker so:
  products this small lose more by being split than they gain. `--threads 0` leaves them theirs.
"""
