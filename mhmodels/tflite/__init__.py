"""TFLite files without a runtime: the schema's tables, the tensors and operators of a file, and its number format.

Writing files is `mhmodels.export.writing`; running them is `mhmodels.export.verification` and `mhmodels.hardware`.
"""
