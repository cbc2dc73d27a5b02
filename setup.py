"""Packaging of mhmodels; everything declarative that setuptools reads from pyproject.toml lives there."""

from setuptools import find_namespace_packages, setup

# tflite-support has no wheels after Python 3.11 and needs protobuf < 4, which holds TensorFlow below 2.20. On later
# Pythons the package installs without it and says so when metadata is asked for.
INSTALL_REQUIRES = [
    "adbutils>=2.8",
    "ai-edge-litert>=2.1,<3",
    "click>=8.1",
    "ethos-u-vela>=4.3",
    "flatbuffers>=24",
    "h5py>=3.11",
    "jinja2>=3.1",
    "keras>=3.10,<4",
    "libusb-package>=1.0.26; python_version < '3.12'",
    "matplotlib>=3.9",
    "msgspec>=0.19",
    "numpy>=2.0",
    "pillow>=10.4",
    "platformdirs>=4.2",
    "rich>=13.7",
    "safetensors>=0.8",
    "scikit-learn>=1.5",
    "scipy>=1.13",
    "tensorflow>=2.19,<2.20; python_version < '3.12'",
    "tensorflow>=2.19; python_version >= '3.12'",
    "tflite-support==0.4.4; python_version < '3.12'",
]

# Later versions of onnx need a protobuf that tflite-support does not accept.
EXTRAS_REQUIRE = {
    "cluster": ["distributed>=2024.8"],
    "onnx": ["onnx==1.17.0", "onnxruntime==1.20.1"],
    "search": ["pymoo>=0.6.2"],
    "dev": [
        "ai-edge-quantizer>=0.10,<1",
        "distributed>=2024.8",
        "hypothesis>=6.100",
        "mypy>=1.11",
        "onnx==1.17.0",
        "onnxruntime==1.20.1",
        "pymoo>=0.6.2",
        "pytest>=8.2",
        "pytest-benchmark>=5.0",
        "pytest-xdist>=3.6",
        "ruff>=0.6",
    ],
}

setup(
    # mhmodels/search, mhmodels/export and mhmodels/android_bench are links to the folders beside mhmodels/.
    packages=find_namespace_packages(include=["mhmodels", "mhmodels.*"]),
    package_data={"": ["py.typed", "*.json", "*.jpg", "*.md", "*.txt", "*.html", "*.sh", "*.h5", "*.csv", "*.npz"]},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
)
