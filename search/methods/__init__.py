"""Search methods: the TuNAS controller, random search and evolution."""
