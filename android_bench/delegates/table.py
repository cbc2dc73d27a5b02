"""The built-in delegates. Flags and names are those of TFLite's benchmark_model and LiteRT's benchmark_litert_model."""

from __future__ import annotations

from mhmodels.android_bench.delegates.delegate import Delegate, Proof

_ANY = ("float32", "float16", "int8", "uint8")
_QUANTISED = ("uint8", "int8")
# Vendors put libOpenCL at different places; a device without it has no OpenCL for programs.
_OPENCL = (
    "/system/lib64/libOpenCL-pixel.so",
    *(
        f"/{root}/lib{bits}/{name}"
        for root in ("vendor", "system/vendor", "system", "odm")
        for bits in ("64", "")
        for name in ("libOpenCL.so", "egl/libGLES_mali.so", "libPVROCL.so")
    ),
)
# Names of the delegates' kernels: TfLiteRegistration.custom_name in TFLite and LiteRT.
XNNPACK, YNNPACK, FLEX = "TfLiteXNNPackDelegate", "YNNPackDelegate", "TfLiteFlexDelegate"
GPU, NNAPI, HEXAGON = r"TfLiteGpuDelegate(V\d)?", "TfLiteNnapiDelegate", "TfLiteHexagonDelegate"
LITERT_GPU, LITERT_NPU = "LITERT_(CL|OPENGL|VULKAN|WEBGPU|METAL)", "DispatchDelegate"
QNN = "TfLiteQnnDelegate"
# Kernels that may run the rest of a network; they run on the CPU only.
CPU_KERNELS = (XNNPACK, YNNPACK, FLEX)
# Kernels by the tool's names of delegates. EXTERNAL and STABLE_DELEGATE may be any delegate.
KERNELS_BY_NAME = {"XNNPACK": XNNPACK, "YNNPACK": YNNPACK, "GPU": GPU, "NNAPI": NNAPI, "Hexagon": HEXAGON}
KNOWN_KERNELS = (*CPU_KERNELS, GPU, NNAPI, HEXAGON, LITERT_GPU, LITERT_NPU, QNN, "TfLiteCoreMlDelegate")
# Names of NNAPI accelerators on known devices, by the kind of processor in them. `nnapi-reference`, AOSP's `nnapi-sample_*` and
# other names that say nothing may be the CPU; a user who knows better gives the name (`nnapi:NAME`).
_SOFTWARE = r"(?i)reference|sample|cpu|xnnpack|emulat|software"
_ACCELERATORS = (
    rf"(?!.*({_SOFTWARE.removeprefix('(?i)')}))"
    r"((.+[-_.])?([ntva]pu|edgetpu|dsp|gpu|hta|htp|mdla|nna|neuron|armnn)([-_.].+)?"
    r"|qti-default|ipuadaptor|liteadaptor|hiai|eden(-drv)?|enn|paintbox)"
)
# Another line says which API was used in the end.
_OTHER_GPU_API = (r"(?i)fall(s|ing)? ?back (to|on) Open ?(CL|GL)( ES)?\b",)
_UNSET = r"\s*:\s*\[(0|false)\]$"
_OPTIONS = r"^External delegate options\s*:\s*\["
_QNN = ("libQnnTFLiteDelegate.so", "libQnnSystem.so")
_QNN_ENVIRONMENT = {
    "LD_LIBRARY_PATH": "{folder}:/vendor/lib64",
    "ADSP_LIBRARY_PATH": "{folder};/vendor/lib/rfsa/adsp;/vendor/dsp/cdsp",
}
_QNN_NOTE = "Qualcomm recommends LiteRT's own accelerator since; the libraries come with Qualcomm's AI Runtime SDK"
_NNAPI_NOTE = "deprecated since Android 15; most later devices run it on the CPU"


def _qnn(backend: str) -> Proof:
    """Proof of QNN: `EXTERNAL` is any library, so its kernel's name and the echoed options must say QNN and the processor."""
    return Proof(
        names=("EXTERNAL",),
        kernels=(QNN,),
        counted=True,
        must={rf"{_OPTIONS}(.*;)?\s*backend_type:{backend}\s*(;.*)?\]$": f"nothing says that QNN used {backend}"},
    )


def _gpu(backend: str, title: str, line: str, other: str, flag: str) -> Delegate:
    return Delegate(
        id=f"gpu-{backend}",
        title=f"GPU, {title}",
        formats=_ANY,
        flags={"use_gpu": "true", "gpu_backend": flag},
        libraries=_OPENCL if flag == "cl" else (),
        proof=Proof(
            names=("GPU",),
            kernels=(GPU,),
            must={rf"^Initialized {line}-based API": f"nothing says that {title} was used"},
            never={
                rf"Initialized {other}-based API": f"the GPU delegate used {other} instead of {line}",
                r"^Created 0 GPU delegate kernels": "the GPU delegate made no kernels",
            },
            may=_OTHER_GPU_API,
        ),
        min_sdk=21 if flag == "cl" else 26,
        successor="litert-gpu",
    )


TABLE: tuple[Delegate, ...] = (
    Delegate(
        id="cpu",
        title="CPU, TFLite's own kernels",
        formats=_ANY,
        # Without the flag, XNNPACK is applied by default and silently.
        flags={"use_xnnpack": "false"},
        proof=Proof(
            plain=True,
            must={rf"^Use (xnnpack|XNNPACK){_UNSET}": "nothing says that XNNPACK was off"},
            never={r"Created TensorFlow Lite XNNPACK delegate|TfLiteXNNPackDelegate": "XNNPACK ran although it was turned off"},
        ),
    ),
    Delegate(
        id="xnnpack",
        title="CPU, XNNPACK",
        formats=_ANY,
        flags={"use_xnnpack": "true"},
        proof=Proof(names=("XNNPACK",), kernels=(XNNPACK,)),
    ),
    _gpu("opencl", "OpenCL", "OpenCL", "OpenGL", "cl"),
    _gpu("opengl", "OpenGL ES", "OpenGL", "OpenCL", "gl"),
    Delegate(
        id="nnapi",
        title="NNAPI",
        formats=("int8", "uint8", "float32", "float16"),
        flags={"use_nnapi": "true", "disable_nnapi_cpu": "true"},
        accelerator_flag="nnapi_accelerator_name",
        proof=Proof(
            names=("NNAPI",),
            kernels=(NNAPI,),
            accelerators=_ACCELERATORS,
            software=_SOFTWARE,
            never={
                r"NNAPI accelerators available: \[(nnapi-reference)?\]": "NNAPI has nothing but its CPU reference on this device",
            },
        ),
        # Before API level 29, NNAPI can neither list accelerators nor be told which to use.
        min_sdk=29,
        deprecated_sdk=35,
        note=_NNAPI_NOTE,
        successor="litert-npu",
    ),
    Delegate(
        id="hexagon",
        title="Hexagon DSP",
        formats=_QUANTISED,
        flags={"use_hexagon": "true", "hexagon_lib_path": "{folder}"},
        files=("libhexagon_interface.so", "libhexagon_nn_skel*.so"),
        environment={
            "LD_LIBRARY_PATH": "{folder}",
            "ADSP_LIBRARY_PATH": "{folder};/system/lib/rfsa/adsp;/vendor/lib/rfsa/adsp;/dsp",
        },
        platforms=r"(?i)^(sdm|sm|msm|qcs|msmnile|sdmmagpie|qti|trinket|lito|kona)",
        proof=Proof(names=("Hexagon",), kernels=(HEXAGON,)),
        min_sdk=26,
        deprecated_sdk=30,
        note="Hexagon 680 to 690 only (Snapdragon 820 to 855); needs a benchmark_model built with it",
        successor="qnn-htp",
    ),
    Delegate(
        id="qnn-htp",
        title="Qualcomm HTP, QNN delegate",
        formats=("int8", "uint8", "float32", "float16"),
        flags={
            "external_delegate_path": "{folder}/libQnnTFLiteDelegate.so",
            "external_delegate_options": "backend_type:htp;library_path:{folder}/libQnnHtp.so;skel_library_dir:{folder}",
        },
        files=(*_QNN, "libQnnHtp.so", "libQnnHtpV*Stub.so", "libQnnHtpV*Skel.so"),
        environment=_QNN_ENVIRONMENT,
        proof=_qnn("htp"),
        min_sdk=28,
        note=_QNN_NOTE,
        successor="litert-npu",
    ),
    Delegate(
        id="qnn-gpu",
        title="Qualcomm Adreno, QNN delegate",
        formats=("float32", "float16"),
        flags={
            "external_delegate_path": "{folder}/libQnnTFLiteDelegate.so",
            "external_delegate_options": "backend_type:gpu;library_path:{folder}/libQnnGpu.so",
        },
        files=(*_QNN, "libQnnGpu.so"),
        environment=_QNN_ENVIRONMENT,
        proof=_qnn("gpu"),
        min_sdk=28,
        note=_QNN_NOTE,
        successor="litert-gpu",
    ),
    Delegate(
        id="litert-gpu",
        title="GPU, LiteRT",
        formats=_ANY,
        tool="benchmark_litert_model",
        # The tool refuses full delegation while the CPU may be used.
        flags={"use_gpu": "true", "use_cpu": "false", "require_full_delegation": "true"},
        files=("libLiteRt*.so",),
        environment={"LD_LIBRARY_PATH": "{folder}:/vendor/lib64"},
        proof=Proof(kernels=(LITERT_GPU,), may=_OTHER_GPU_API),
        min_sdk=26,
    ),
    Delegate(
        id="litert-npu",
        title="NPU, LiteRT",
        formats=("int8", "uint8", "float32", "float16"),
        tool="benchmark_litert_model",
        flags={
            "use_npu": "true",
            "use_cpu": "false",
            "require_full_delegation": "true",
            "dispatch_library_path": "{folder}",
            "compiler_plugin_library_path": "{folder}",
        },
        files=("libLiteRt*.so",),
        environment={"LD_LIBRARY_PATH": "{folder}:/vendor/lib64", "ADSP_LIBRARY_PATH": "{folder}"},
        proof=Proof(kernels=(LITERT_NPU,)),
        min_sdk=31,
    ),
)
