"""The tools of chip vendors that can be installed, as data."""

from __future__ import annotations

from pathlib import Path

from mhmodels.errors import UnknownNameError
from mhmodels.formats.checked import Checked


class VendorTool(Checked, frozen=True, kw_only=True):
    """A tool of a chip vendor.

    Attributes:
        name: Name in `mhmodels hardware install NAME`.
        title: What it is, with its version.
        enables: What it makes possible, for people.
        licence: Licence of the packages, and where to read it.
        download_mb, installed_mb: Size of the download and of the environment in MB, as measured when the versions were pinned.
        pythons: Versions of Python, `MAJOR.MINOR`, for which the pinned packages exist.
        glibc: Smallest version of the GNU C library, (major, minor).
        modules: Modules of the environment that are imported to test an installation.
    """

    name: str
    title: str
    enables: str
    licence: str
    download_mb: int
    installed_mb: int
    pythons: tuple[str, ...]
    glibc: tuple[int, int]
    modules: tuple[str, ...]

    @property
    def requirements(self) -> Path:
        """The pinned packages with their hashes, as pip reads them."""
        return Path(__file__).parent / "requirements" / f"{self.name}.txt"


QUALCOMM = VendorTool(
    name="qualcomm",
    title="Qualcomm AI Runtime 2.51 (onnxruntime-qnn 2.7.0): compiler, emulator and latency estimator of the Hexagon NPU; "
    "LiteRT 2.2.0, whose plug-in compiles .tflite files with it",
    enables="hardware hexagon-…, `mhmodels place`, `mhmodels export --aot`",
    licence="MIT, Apache 2.0 (LiteRT), and Qualcomm's licence for its libraries (Qualcomm_LICENSE.pdf in the wheel of "
    "onnxruntime-qnn: https://pypi.org/project/onnxruntime-qnn)",
    download_mb=167,
    installed_mb=480,
    pythons=("3.11", "3.12", "3.13"),
    glibc=(2, 35),
    modules=("onnxruntime", "onnxruntime_qnn", "ai_edge_litert"),
)
ROCKCHIP = VendorTool(
    name="rockchip",
    title="RKNN-Toolkit2 2.5.0: compiler of Rockchip's NPUs, which counts the cycles of every layer",
    enables="hardware rknn-…",
    licence="Rockchip's RKNN SDK License, for applications on Rockchip's chips (https://github.com/airockchip/rknn-toolkit2; the "
    "wheel of rknn-toolkit2 has no licence file); free licences for the other packages",
    download_mb=172,
    installed_mb=620,
    pythons=("3.11",),
    glibc=(2, 28),
    # rknn.api is imported behind a stand-in for torch only (hardware/rknn/compile.py).
    modules=("rknn", "onnx", "onnxruntime", "cv2", "scipy", "tqdm", "pkg_resources"),
)
TOOLS = (QUALCOMM, ROCKCHIP)


def get_tool(name: str) -> VendorTool:
    """Returns the tool of a name.

    Raises:
        UnknownNameError: No such tool; the message offers the nearest names.
    """
    for tool in TOOLS:
        if tool.name == name:
            return tool
    raise UnknownNameError("tool", name, [tool.name for tool in TOOLS], "(`mhmodels hardware` shows all)")
