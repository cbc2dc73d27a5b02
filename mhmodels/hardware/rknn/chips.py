"""Rockchip's chips for which RKNN-Toolkit2 2.5.0 counts cycles, as data.

Clocks are those that `scaling_frequency.sh` of Rockchip's repository rknn_model_zoo sets for benchmarks
(https://github.com/airockchip/rknn_model_zoo); none was checked on a chip. The compiler also prints tables for the RV1103B,
RV1106B and RV1126B, for which no clock is known here, and does not compile networks with convolutions for the RK2118.
"""

from __future__ import annotations

from mhmodels.formats.checked import Checked


class Chip(Checked, frozen=True, kw_only=True):
    """A chip with a Rockchip NPU.

    Attributes:
        name: Rockchip's name.
        clock_mhz: Assumed clock of the NPU.
        cores: Number of NPU cores; the cycles are those of one.
        product: What the chip is made for.
        same_cycles: Chips of this table with equal cycles for every network tried: they give no further information.
    """

    name: str
    clock_mhz: float
    cores: int
    product: str
    same_cycles: str = ""

    @property
    def target(self) -> str:
        """Name of the chip for the compiler."""
        return self.name.lower()


CHIPS = (
    Chip(name="RK3588", clock_mhz=1000.0, cores=3, product="tablets and single-board computers"),
    Chip(name="RK3576", clock_mhz=1000.0, cores=2, product="tablets and single-board computers"),
    Chip(name="RK3568", clock_mhz=1000.0, cores=1, product="single-board computers", same_cycles="RK3566"),
    Chip(name="RK3566", clock_mhz=1000.0, cores=1, product="tablets and single-board computers", same_cycles="RK3568"),
    Chip(name="RK3562", clock_mhz=1000.0, cores=1, product="tablets"),
    Chip(name="RV1106", clock_mhz=500.0, cores=1, product="cameras", same_cycles="RV1103"),
    Chip(name="RV1103", clock_mhz=500.0, cores=1, product="cameras", same_cycles="RV1106"),
)
