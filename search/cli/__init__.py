"""`mhmodels search`: one module for each command. `options` holds the options that several commands share.

Options of `search run` are in the modules `run_*_options`, its files in `run_files`. `*_display`, `panel` and `statistics_table`
print.
"""
