"""A published table of long-horizon forecasts, reproduced: eight exchange rates.

`python -m benchmarks.long_horizon PATH/exchange_rate.txt` follows the protocol of Autoformer (Wu et
al. 2021) and DLinear (Zeng et al. 2023), table 2 of the latter:

- 70/10/20 split in row order; each series in units of its training standard deviation, about its
  training mean. An input window may reach back before the border of its segment.
- Horizons 96, 192, 336 and 720; every window of a segment, one row apart; MSE and MAE over all
  windows, steps and series.
- The published code leaves out what does not fill its last batch of 32 test windows. Both ways are
  reported: its own, which is the check of this harness, and all windows.

Whatever is fitted reads the training rows. The validation rows decide when the LSTM stops and, by
the gate's rule, whether it is published. The test rows decide nothing.
"""
