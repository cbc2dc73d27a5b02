"""Training and evaluation: recipes as data, pictures in, a loop that continues exactly where it was interrupted.

`session.train_network` is the whole of it as one call; `loop.train` takes a model builder, feeds and a transform.
`recipes`, `sources` and `digits64` do not import TensorFlow.
"""
