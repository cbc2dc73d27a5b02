"""Runner of Arm Ethos-U NPUs through the Vela compiler: its own estimate, where it places the whole network on the NPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util

from mhmodels.hardware.layers.profile import LayerProfile
from mhmodels.hardware.measurement import Environment, Measurement
from mhmodels.hardware.protocol import Hardware, Job, TableRunner, row_identity
from mhmodels.hardware.vela.compiling import compile_for_npu
from mhmodels.hardware.vela.layers import profile_layers

_CONFIG_FILE = "Arm/vela.ini"
# System configuration and memory mode: the defaults of Vela 5.2.0, stated so that they are in every row.
_SYSTEMS = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}
_MACS = {"ethos-u55": (32, 64, 128, 256), "ethos-u65": (256, 512), "ethos-u85": (128, 256, 512, 1024, 2048)}


def _npu(family: str, macs: int) -> Hardware:
    system, memory = _SYSTEMS[family]
    return Hardware(
        id=f"{family}-{macs}",
        format="int8",
        kind="estimated",
        description=f"Arm {family.replace('ethos-u', 'Ethos-U')}, {macs} MACs a cycle, {system}, {memory}: Vela's estimate",
        # The compiler places operators one by one and reports what it left out, so it accepts or refuses files of any format.
        strict=False,
        configuration={
            "accelerator_config": f"{family}-{macs}",
            "config": _CONFIG_FILE,
            "system_config": system,
            "memory_mode": memory,
            "optimise": "Performance",
        },
    )


TABLE = tuple(_npu(family, macs) for family, sizes in _MACS.items() for macs in sizes)


class VelaRunner(TableRunner):
    """Compiles files for Ethos-U NPUs and reports the compiler's estimate."""

    exclusive = True
    table = TABLE

    def unavailable(self, hardware: Hardware) -> str:
        """Why a hardware cannot be measured: Vela is not installed."""
        # `ethosu` has no __init__, so a module that really exists is looked for.
        try:
            missing = importlib.util.find_spec("ethosu.vela") is None
        except ModuleNotFoundError:
            missing = True
        return f"{hardware.id} needs the Vela compiler, which is not installed (pip install ethos-u-vela)" if missing else ""

    def environment(self, hardware: Hardware) -> Environment:
        """The accelerator, the version of Vela and its configuration."""
        return Environment(
            device=str(hardware.configuration["accelerator_config"]),
            compiler=f"Vela {importlib.metadata.version('ethos-u-vela')}",
            configuration=hardware.configuration,
        )

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Compiles a file, and takes the estimate if every operator is on the NPU.

        Raises:
            MeasurementError: The compiler fails, dies, takes too long, or prints something unknown.
        """
        result = compile_for_npu(job.path, hardware)
        fits = not result.reason
        return Measurement(
            **row_identity(job, hardware, self.environment(hardware)),
            median_ms=result.latency_ms if fits else None,
            sram_bytes=result.sram_bytes if fits else None,
            dram_bytes=result.dram_bytes if fits else None,
            flash_bytes=result.flash_bytes if fits else None,
            runs=1 if fits else 0,
            delegated_nodes=None if result.too_large else result.npu_operators,
            total_nodes=None if result.too_large else result.npu_operators + result.cpu_operators,
            reason=result.reason,
        )

    def profile_layers(self, job: Job, hardware: Hardware) -> LayerProfile:
        """Reads what each layer costs from the table that Vela writes with `--verbose-performance`.

        Raises:
            MeasurementError: As `measure`, or the network is not on the NPU as a whole.
        """
        return profile_layers(job, hardware)


RUNNER = VelaRunner()
