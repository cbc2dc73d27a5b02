"""Placement of a .tflite file on the NPU of a phone's SoC, and its ahead-of-time compiled form, by Google's and Qualcomm's tools.

`socs.py` declares the SoCs, `plugin.py` is the program that runs in the tool's environment, `plugin_output.py` reads what it
printed, `compiled_file.py` reads what it compiled, `placing.py` joins both to a `Placement` of `verdict.py`, and `remedies.py`
knows what helps.
"""
