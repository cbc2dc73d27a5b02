"""A super-network that shares weights between all networks of a space, and the search that trains it and asks it.

`plan` and `presets` know nothing of TensorFlow; `network` computes what a plan says; `loop` is the search.
"""
