"""The found Pareto front, measured on its hardware: step 5 of One-Proxy (arXiv 2111.01203).

`judging` decides by measured latencies which members stay on the front, and `report` writes the result as plain values.
`measuring` measures the members on hardware, and `table` takes their latencies from a file.
"""
