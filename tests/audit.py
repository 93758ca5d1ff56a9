#!/usr/bin/env python3
"""Look up the known vulnerabilities of all that is installed beside this Python, where they can be had.

Says how many packages they were known of: an index without such data has none of any package, and pip-audit is content.
Exit status 1 where there are some.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 300


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--format=json", f"--output={report}", "--progress-spinner=off"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            print(f"pip-audit: nothing could be looked up in {SECONDS} seconds")
            return 0
        if not report.exists():
            print(f"pip-audit: nothing could be looked up ({(done.stderr.splitlines() or ['it said nothing'])[-1]})")
            return 0
        packages = json.loads(report.read_text())["dependencies"]
    looked_up = [package for package in packages if "skip_reason" not in package]
    vulnerable = [package for package in looked_up if package["vulns"]]
    for package in vulnerable:
        for found in package["vulns"]:
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {found['fix_versions']}")
    known = f"of {len(packages)} packages {len(looked_up)} could be looked up"
    print(f"pip-audit: {known}, {len(vulnerable)} have known vulnerabilities")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
