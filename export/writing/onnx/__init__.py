"""The direct ONNX writer: float networks, and integer networks with QuantizeLinear and DequantizeLinear (QDQ form).

`tools` is imported without onnx; the other modules need it. Running the files is `mhmodels.export.verification`.
"""
