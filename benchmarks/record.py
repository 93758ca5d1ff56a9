"""What every benchmark writes down of where and with what it ran."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("tensorflow", "keras", "horovod", "numpy")


def hardware() -> str:
    """The processor and the number of cores, in words."""
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else []
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """Python's version and those of the packages that speed depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str:
    """The commit of the working tree, marked where it has changes."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def write(what: str, config: dict[str, Any], measured: Any) -> Path:
    """Write `results/<what>_<hardware>_<date>.json`; returns its path."""
    name = re.sub(r"[^a-z0-9]+", "-", hardware().lower()).strip("-")
    path = RESULTS / f"{what}_{name}_{datetime.date.today()}.json"
    content = {
        "what": what, "hardware": hardware(), "date": str(datetime.date.today()), "commit": commit(),
        "versions": versions(), "config": config, "measured": measured,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def newest(what: str) -> dict[str, Any] | None:
    """The newest results of a benchmark, or None."""
    paths = sorted(RESULTS.glob(f"{what}_*.json"), key=lambda path: path.stem[-10:])
    return json.loads(paths[-1].read_text()) if paths else None
