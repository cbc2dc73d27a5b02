"""`--measure-front` and `--front-latencies` of `search run` and `resume`: options, the way from a result to them, and output."""
