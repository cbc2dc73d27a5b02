"""Search methods: random search, evolution, NSGA-II and the TuNAS controller."""
