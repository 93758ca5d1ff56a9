"""launch/virtual_hosts.py, for tests: several hosts of this machine."""

import importlib.util
from pathlib import Path
from typing import Any

_spec = importlib.util.spec_from_file_location(
    "virtual_hosts", Path(__file__).parent.parent / "launch" / "virtual_hosts.py"
)
assert _spec and _spec.loader
virtual_hosts: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(virtual_hosts)
