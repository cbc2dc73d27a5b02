"""Runs inside namespaces of its own, as root: a real adbd over a throw-away copy of the file system, and the harness on it.

Arguments: adbd, adb, the folder to work in, the tool, the network. Prints one JSON document.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

PORT, SERVER = 6021, 6022


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14s", b"lo", 0x1 | 0x40, b"")
        fcntl.ioctl(sock, 0x8914, request)


def file_system(folder: Path) -> Path:
    """The machine's own files under a layer that takes all changes, with a phone's folders on top."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    root = folder / "root"
    layers = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(root)], check=True)
    (root / "data/local/tmp").mkdir(parents=True)
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    subprocess.run(["mount", "--bind", "/dev", str(root / "dev")], check=True)
    return root


def main() -> None:
    adbd, adb, place, tool, network = (Path(word) for word in sys.argv[1:])
    loopback_up()
    # The layers must not lie on the file system that they show.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    from tests.android.phone_files import PIXEL, furnish

    root = file_system(place)
    furnish(root / "device", PIXEL, sys.executable)
    environment = {
        "ADBD_PORT": str(PORT),
        "PATH": "/device/system/bin:/usr/bin:/bin",
        "DEVICE_ROOT": "/device",
        "LD_LIBRARY_PATH": os.environ.get("ADBD_LIBRARIES", ""),
        "HOME": "/",
    }
    with (place / "adbd.log").open("wb") as log:
        phone = subprocess.Popen(["/usr/sbin/chroot", str(root), str(adbd)], env=environment, stdout=log, stderr=log)
        home = place / "home"
        home.mkdir()
        own = {"HOME": str(home), "PATH": "/usr/bin:/bin", "ADB_MDNS": "0", "TMPDIR": str(home)}
        server = subprocess.Popen([str(adb), "-L", f"tcp:{SERVER}", "server", "nodaemon"], env=own, stdout=log, stderr=log)
    try:
        print(json.dumps(measure(adb, tool, network, phone)))
    finally:
        for process in (server, phone):
            process.kill()
            process.wait()


def measure(adb: Path, tool: Path, network: Path, phone: subprocess.Popen[bytes]) -> dict[str, object]:
    from mhmodels.android_bench.runner import PhoneRunner, PhoneRunnerOptions
    from mhmodels.android_bench.session.tasks import PhonePlan
    from mhmodels.hardware import Measurement, prepare

    serial = f"127.0.0.1:{PORT}"
    for _ in range(100):
        time.sleep(0.1)
        with contextlib.suppress(subprocess.SubprocessError):
            words = [str(adb), "-H", "127.0.0.1", "-P", str(SERVER)]
            said = subprocess.run([*words, "connect", serial], capture_output=True, text=True, timeout=10, check=False).stdout
            listed = subprocess.run([*words, "devices"], capture_output=True, text=True, timeout=10, check=False).stdout
            if f"{serial}\tdevice" in listed:
                break
    else:
        raise RuntimeError(f"adbd does not answer: {said} {listed} {phone.poll()}")
    results: dict[str, object] = {}
    for name, binary, timeout_s in (("good", tool, 60.0), ("hangs", tool.with_name("hangs"), 2.0)):
        plan = PhonePlan(blocks=2, timeout_s=timeout_s)
        options = PhoneRunnerOptions(
            adb=str(adb), adb_server=f"127.0.0.1:{SERVER}", binaries=(str(binary),), plan=plan, wait_s=10
        )
        runner = PhoneRunner(options)
        hardware = runner.find(f"{serial}/xnnpack")
        assert hardware is not None
        for _, _, result in runner.batch(serial, [(prepare(network), hardware)]):
            row = isinstance(result, Measurement)
            results[name] = result.median_ms if row else str(result.status)  # type: ignore[union-attr]
        left = runner.phone(serial).script("grep -l 'mhmodel[s]/' /proc/[0-9]*/cmdline 2>/dev/null")
        results[f"{name} left"] = [line for line in left.stdout.split() if line]
    facts = runner.facts(serial)
    results |= {"model": facts.title, "features": sorted(runner.phone(serial).features)}
    return results


main()
