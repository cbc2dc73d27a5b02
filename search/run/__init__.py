"""A search from its request to its result.

`request` holds what is searched, `resolving` opens everything that it names once (`latencies`, `accuracies`, `published`), and
`search` has `run_search`. `loop` asks the evaluator (`evaluation_cache`), `weight_sharing` hands over to a super-network. `log`,
`results`, `pareto` and `drawing` hold what a search leaves.
"""
