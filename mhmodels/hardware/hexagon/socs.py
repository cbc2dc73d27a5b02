"""Qualcomm's SoCs for which its compiler estimates latencies, as data.

Ids and names come from `Qnn_SocModel_t` of Qualcomm's `QnnTypes.h`. Generation, clock, vector units and memory are those that the
compiler of QAIRT 2.51 writes into the networks that it compiles for the SoC; it estimates no latency for SoCs of phones.
"""

from __future__ import annotations

from mhmodels.formats.checked import Checked


class Soc(Checked, frozen=True, kw_only=True):
    """A SoC with a Hexagon NPU.

    Attributes:
        name: Qualcomm's name.
        soc_model: Its number in Qualcomm's tools.
        generation: Version of the Hexagon tensor processor: 73 is "HTP v73".
        clock_mhz: Clock of the NPU that the estimate assumes.
        vtcm_mb: Size of the NPU's own memory in MB.
        product: What the SoC is made for.
        phones: Phone SoCs with an NPU of the same generation; their clock and memory may differ.
    """

    name: str
    soc_model: int
    generation: int
    clock_mhz: float
    vtcm_mb: int
    product: str
    phones: str = ""


_V68 = "Snapdragon 888"
_V73 = "Snapdragon 8 Gen 2"
_V81 = "Snapdragon 8 Elite Gen 5"
SOCS = (
    Soc(name="SA8255", soc_model=52, generation=73, clock_mhz=1497.6, vtcm_mb=8, product="cars", phones=_V73),
    Soc(name="QCS9100", soc_model=77, generation=73, clock_mhz=1497.6, vtcm_mb=8, product="industry (IQ-9)", phones=_V73),
    Soc(name="SA8540", soc_model=62, generation=68, clock_mhz=1286.4, vtcm_mb=8, product="cars", phones=_V68),
    Soc(name="AIC100", soc_model=63, generation=68, clock_mhz=1450.0, vtcm_mb=8, product="servers (Cloud AI 100)", phones=_V68),
    Soc(name="SA8797", soc_model=72, generation=81, clock_mhz=1708.8, vtcm_mb=16, product="cars", phones=_V81),
    Soc(name="SAR2230P", soc_model=95, generation=81, clock_mhz=1497.6, vtcm_mb=4, product="smart glasses", phones=_V81),
    Soc(name="SA8787", soc_model=114, generation=85, clock_mhz=1804.8, vtcm_mb=16, product="cars"),
)
