"""Search by weight sharing: a super-network whose weights all networks of a space share, and the search that trains it.

`request` holds what a search is given and finds, `presets` how it trains, `loop` the search itself, `network` the weights and the
forward pass, `training` the steps. `record` guards the folder of a search; `finalists` and `judging` choose and judge networks.
Only `loop`, `judging`, `reporting` and parts of `network` and `training` import TensorFlow.
"""
