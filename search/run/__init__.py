"""A search from its request to its result.

`request` holds what is searched, `resolving` opens everything that it names once (`sources/`), and `search` has `run_search`.
`loop` asks for evaluations, `weight_sharing` hands over to a super-network, and `observing` reports. `log`, `evaluations`,
`results`, `pareto` and `drawing` hold what a search leaves.
"""
