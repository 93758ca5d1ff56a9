"""docs/quickstart.ipynb runs from its first cell to its last."""

import json
import sys
from pathlib import Path

import limits
import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "quickstart.ipynb"
SHORTER = {"steps=300": "steps=6", "steps=600": "steps=8", "100steps": "4steps", "num_images=1000": "num_images=100"}


@pytest.mark.slow
def test_the_notebook_runs_and_shows_digits(tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells if not cell["source"][0].startswith("%"))
    for long, short in SHORTER.items():
        assert long in code
        code = code.replace(long, short)
    answer = limits.run([sys.executable, "-c", code], cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "frechet_distance" in answer.stdout
    assert (tmp_path / "runs" / "notebook" / "report.html").exists()
