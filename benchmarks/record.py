"""What every benchmark writes down of where and with what it ran, in results/ or the directory DISTGAN_RESULTS."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "benchmarks" / "results"
RESULTS = Path(os.environ.get("DISTGAN_RESULTS", KEPT))
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
    """The commit of the working tree, marked where it has changes other than of results."""
    name = _git("rev-parse", "--short", "HEAD")
    others = _git("status", "--porcelain", "--", ":/", f":(exclude,top){KEPT.relative_to(ROOT)}")
    return (name or "unknown") + ("-dirty" if others else "")


def _git(*words: str) -> str:
    found = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=ROOT)
    return found.stdout.strip()


def write(what: str, config: dict[str, Any], measured: Any) -> Path:
    """Write `results/<what>_<hardware>_<date>.json`; returns its path."""
    path = _path(what)
    content = {
        "what": what, "hardware": hardware(), "date": str(datetime.date.today()), "commit": commit(),
        "versions": versions(), "config": config, "measured": measured,
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def add(what: str, case: dict[str, Any], **found: Any) -> Path:
    """Add what was found of a case, under the commit it was measured at, to today's results."""
    path = _path(what)
    rows = json.loads(path.read_text())["measured"] if path.exists() else []
    others = [row for row in rows if row["case"] != case]
    return write(what, {}, [*others, {"case": case, "commit": commit()} | found])


def _path(what: str) -> Path:
    name = re.sub(r"[^a-z0-9]+", "-", hardware().lower()).strip("-")
    return RESULTS / f"{what}_{name}_{datetime.date.today()}.json"


def picture(name: str) -> Path:
    """Where a picture is drawn: in docs/, or beside results that are not kept here."""
    directory = ROOT / "docs" if RESULTS == KEPT else RESULTS
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{name}.png"


def newest(what: str) -> dict[str, Any] | None:
    """The newest results of a benchmark, or None."""
    paths = sorted(RESULTS.glob(f"{what}_*.json"), key=lambda path: path.stem[-10:])
    return json.loads(paths[-1].read_text()) if paths else None


def every(what: str) -> list[dict[str, Any]]:
    """The newest row of each case, of all results of a benchmark that adds them."""
    paths = sorted(RESULTS.glob(f"{what}_*.json"), key=lambda path: path.stem[-10:])
    rows = [row for path in paths for row in json.loads(path.read_text())["measured"]]
    return list({json.dumps(row["case"], sort_keys=True): row for row in rows}.values())
