"""Runner of this machine's GPU through LiteRT's GPU accelerator, where it takes the whole network."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mhmodels.hardware.gpu import child
from mhmodels.hardware.gpu.vulkan import VulkanDevice, vulkan_devices
from mhmodels.hardware.host.session import BLOCK_S, TIMEOUT_S, ChildSession
from mhmodels.hardware.host.timing import summarise
from mhmodels.hardware.measurement import NOISY_MAD_RATIO, Environment, Measurement
from mhmodels.hardware.protocol import Hardware, Job, TableRunner, row_identity

BLOCKS = 5
_CHILD = Path(child.__file__)


def _gpu(fmt: str) -> Hardware:
    return Hardware(
        id=f"host-gpu-{fmt}",
        format=fmt,
        kind="measured",
        description=f"this machine's GPU, {fmt} files, LiteRT's GPU accelerator (Vulkan); transfers of input and output included",
        configuration={"accelerator": "GPU, Vulkan"},
    )


TABLE = tuple(_gpu(fmt) for fmt in ("float32", "int8", "uint8"))


class GpuRunner(TableRunner):
    """Times files on this machine's GPU."""

    exclusive = True
    table = TABLE

    def unavailable(self, hardware: Hardware) -> str:
        """Why a hardware cannot be measured: no LiteRT, no Vulkan driver, or only one in software, whose time means nothing."""
        if importlib.util.find_spec("ai_edge_litert") is None:
            return f"{hardware.id} needs LiteRT, which is not installed (pip install ai-edge-litert)"
        devices = vulkan_devices()
        if not devices:
            return f"{hardware.id} needs a GPU with a Vulkan driver, and the Vulkan loader (Debian: libvulkan1)"
        if _gpu_of(devices) is None:
            return f"{hardware.id} needs a GPU; the only Vulkan driver computes on the CPU ({devices[0].name})"
        return ""

    def environment(self, hardware: Hardware) -> Environment:
        """The GPU and the versions of LiteRT and of the driver."""
        device = _gpu_of(vulkan_devices())
        return Environment(
            device="" if device is None else device.name,
            runtime=f"LiteRT {importlib.metadata.version('ai-edge-litert')}",
            driver="" if device is None else str(device.driver),
            configuration=hardware.configuration,
        )

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Warms up and times five blocks of `job.runs` inferences; the median block counts.

        A row is noisy if the medians of the blocks differ by over 2 % (MAD over median).

        Raises:
            MeasurementError: The accelerator refuses the file, dies on it or takes too long.
        """
        identity = row_identity(job, hardware, self.environment(hardware))
        with ChildSession(_CHILD, job.path, {"path": str(job.path.absolute())}, threads=1, timeout_s=TIMEOUT_S) as session:
            about = session.about
            if not about["whole"]:
                return Measurement(**identity, reason="LiteRT's GPU accelerator leaves a part of the network to the CPU")
            blocks = [session.ask({"runs": job.runs, "seconds": BLOCK_S})["ns"] for _ in range(BLOCKS)]
        medians = [statistics.median(block) for block in blocks]
        middle = statistics.median(medians)
        summary = summarise([time_ns / 1e6 for time_ns in blocks[medians.index(middle)]])
        spread = statistics.median(abs(one - middle) for one in medians) / middle
        return Measurement(
            **identity,
            **msgspec.structs.asdict(summary),
            init_ms=about["init_ns"] / 1e6,
            first_ms=about["first_ns"] / 1e6,
            warmup=about["warmup"],
            noisy=spread > NOISY_MAD_RATIO,
            device_state={"requested_runs": job.runs, "blocks_ms": [round(median / 1e6, 4) for median in medians]},
        )


def _gpu_of(devices: Sequence[VulkanDevice]) -> VulkanDevice | None:
    """Returns the device that LiteRT computes on: a discrete GPU before others, never a driver in software."""
    real = [device for device in devices if device.kind != "software"]
    return min(real, key=lambda device: device.kind != "discrete", default=None)


RUNNER = GpuRunner()
