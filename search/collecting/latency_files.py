"""TFLite files with random weights, and the jobs that measure them."""

from __future__ import annotations

from pathlib import Path

from mhmodels.architecture import Architecture
from mhmodels.export.writing.latency import latency_job
from mhmodels.hardware import Hardware, Job
from mhmodels.search.collecting.settings import CollectSettings


class LatencyFiles:
    """TFLite files with random weights, which are written on demand and deleted after each chunk."""

    def __init__(self, folder: Path, settings: CollectSettings) -> None:
        """Writes to `folder`, for jobs with the runs and threads of `settings`."""
        self.folder, self.settings = folder, settings
        self._jobs: dict[tuple[str, str, bool], Job] = {}

    def job(
        self, architecture: Architecture, hardware: Hardware, *, reference: Architecture | None = None, keep: bool = False
    ) -> Job:
        """The job that measures a network.

        Args:
            architecture: The network; its name becomes the model name of the row.
            hardware: Hardware that takes the file.
            reference: Network to time in turns with it, if any.
            keep: Whether the file outlives the chunk.

        Raises:
            ExportError: The network cannot be written in the format of the hardware.
            MeasurementError: Files with random weights are not written in this format.
        """
        key = architecture.architecture_id, hardware.format, reference is not None
        if key not in self._jobs:
            beside = None if reference is None else self.job(reference, hardware, keep=True)
            folder = self.folder / ("kept" if keep else "chunk")
            self._jobs[key] = latency_job(
                architecture,
                hardware,
                folder,
                label=architecture.name,
                runs=self.settings.runs,
                threads=self.settings.threads,
                reference=beside,
            )
        return self._jobs[key]

    def clear(self) -> None:
        """Deletes the files of a chunk."""
        for key, job in list(self._jobs.items()):
            if job.path.parent.name == "chunk":
                job.path.unlink(missing_ok=True)
                del self._jobs[key]
