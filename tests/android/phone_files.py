"""The file system of the device double: properties, sysfs, and small programs that answer like Android's."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

# Android's own shell where this machine has it (Debian: apt install mksh).
SHELL = shutil.which("mksh") or "/bin/sh"

PIXEL = {
    "ro.product.manufacturer": "Double",
    "ro.product.brand": "double",
    "ro.product.model": "Phone 4",
    "ro.product.name": "double",
    "ro.product.device": "double",
    "ro.board.platform": "msmnile",
    "ro.hardware": "double",
    "ro.soc.manufacturer": "QTI",
    "ro.soc.model": "SM8150",
    "ro.build.fingerprint": "double/double/double:13/TP1A.000000.001/1:user/release-keys",
    "ro.build.version.release": "13",
    "ro.build.version.sdk": "33",
    "ro.build.version.security_patch": "2022-10-05",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.serialno": "DOUBLE0001",
    "sys.boot_completed": "1",
}
CORES = [(1785600, 261)] * 4 + [(2419200, 871)] * 3 + [(2841600, 1024)]

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 2
  level: 83
  scale: 100
  temperature: 271
"""
THERMAL = """IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=55.0, mType=3, mName=VIRTUAL-SKIN, mStatus=2}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=31.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=0.0, mType=1, mName=GPU0, mStatus=0}
\tTemperature{mValue=27.1, mType=2, mName=BAT, mStatus=0}
\tTemperature{mValue=29.4, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=cpu0}
"""
GPU = "GLES: Qualcomm, Adreno (TM) 640, OpenGL ES 3.2 V@0502.0\n"
POWER = "mWakefulness=Awake\n"

_STATE = "$DEVICE_ROOT/state"
PROGRAMS = {
    "getprop": f'if [ -n "$1" ]; then sed -n "s/^\\[$1\\]: \\[\\(.*\\)\\]$/\\1/p" {_STATE}/props; else cat {_STATE}/props; fi',
    "dumpsys": f'cat "{_STATE}/$1" 2>/dev/null || echo "Can\'t find service: $1"',
    "settings": f"""f="{_STATE}/settings/$2/$3"
mkdir -p "{_STATE}/settings/$2"
case "$1" in
get) cat "$f" 2>/dev/null || echo null ;;
put) echo "$4" > "$f" ;;
delete) rm -f "$f" ;;
esac""",
    "svc": f'echo "$@" >> {_STATE}/svc.log',
    "cmd": f'echo "$@" >> {_STATE}/cmd.log',
    "input": f'echo "$@" >> {_STATE}/input.log',
    "service": f"cat {_STATE}/services 2>/dev/null",
    "df": f"cat {_STATE}/df",
    "taskset": """mask=$(printf '%d' "0x$1") || exit 1
if [ $((mask & ~255)) -ne 0 ] || [ "$mask" -eq 0 ]; then
  echo "taskset: failed to set pid 0's affinity: Invalid argument" >&2
  exit 1
fi
echo "$1" >> $DEVICE_ROOT/state/taskset.log
shift
exec "$@\"""",
}


def furnish(root: Path, props: dict[str, str], python: str) -> None:
    """Makes a phone's file system in a folder.

    Args:
        root: the folder.
        props: Android properties.
        python: the interpreter that functional stand-ins run with; linked into the device's own bin.
    """
    for folder in (
        "data/local/tmp",
        "sdcard",
        "vendor/lib64",
        "system/bin",
        "state/settings",
        "proc/sys/kernel/random",
        "odm",
        "product",
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, body in PROGRAMS.items():
        program = root / "system/bin" / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    (root / "system/bin/sh").symlink_to(SHELL)
    wrapper = root / "system/bin/python3"
    wrapper.write_text(f'#!/bin/sh\nexec "{python}" -P "$@"\n')
    wrapper.chmod(0o755)
    state = root / "state"
    (state / "props").write_text("".join(f"[{name}]: [{value}]\n" for name, value in props.items()))
    for name, text in (("battery", BATTERY), ("thermalservice", THERMAL), ("SurfaceFlinger", GPU), ("power", POWER)):
        (state / name).write_text(text)
    (state / "df").write_text(
        "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/block/dm-5 115249236 20000000 95249236 18% /data\n"
    )
    (state / "services").write_text("Found 1 services:\n0\tandroid.hardware.neuralnetworks.IDevice/google-edgetpu: []\n")
    (root / "proc/sys/kernel/random/boot_id").write_text(str(uuid.uuid4()))
    (root / "vendor/lib64/libOpenCL.so").write_bytes(b"\x7fELF")
    for number, (frequency, capacity) in enumerate(CORES):
        core = root / f"sys/devices/system/cpu/cpu{number}"
        (core / "cpufreq").mkdir(parents=True)
        (core / "cpufreq/cpuinfo_max_freq").write_text(f"{frequency}\n")
        (core / "cpufreq/scaling_max_freq").write_text(f"{frequency}\n")
        (core / "cpufreq/scaling_cur_freq").write_text(f"{frequency}\n")
        (core / "cpu_capacity").write_text(f"{capacity}\n")
    (root / "sys/devices/system/cpu/online").write_text("0-7\n")
