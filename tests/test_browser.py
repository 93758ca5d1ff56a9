"""Both pages in a real browser: everything is drawn, nothing is complained of, and the pointer reads values off."""

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import limits
import pages
import pytest
from browser import CHROMIUM, NO_CHROMIUM, QUIETLY

from distgan.report import comparison, recorded, run_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
PROBE = """
const box = (one) => { const { width, height } = one.getBoundingClientRect(); return Math.max(width, height); };
const all = (selector) => Array.from(document.querySelectorAll(selector));
const plot = document.querySelector("figure.plot");
const over = plot.querySelector(".u-over");
const place = over.getBoundingClientRect();
const legend = () => plot.querySelector("figcaption").textContent;
const before = legend();
const move = (kind) => over.dispatchEvent(new MouseEvent(kind, {
  clientX: place.left + 0.3 * place.width, clientY: place.top + 9,
}));
const inked = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean);
move("mouseenter");
move("mousemove");
const pointed = legend();
const hair = box(plot.querySelector(".u-cursor-x"));
move("mouseleave");
parent.document.title = "seen " + JSON.stringify({
  charts: all("canvas").map(inked), bars: all(".bars div i").map(box), sparks: all("polyline").map(box),
  pictures: all("img").map((one) => one.naturalWidth), before, pointed, after: legend(), hair,
  width: innerWidth, overflow: document.documentElement.scrollWidth - innerWidth,
  paper: getComputedStyle(document.documentElement).backgroundColor,
});
"""


def _browse(page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM
    quietly = [*QUIETLY, "--enable-logging=stderr"]
    command = [CHROMIUM, *quietly, f"--user-data-dir={page.parent / 'browser'}", *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=limits.LIMIT_SECONDS)


def _complaints(page: Path) -> list[str]:
    """What the browser says on its console of a page as it is."""
    return [line for line in _browse(page, "--dump-dom").stderr.splitlines() if "CONSOLE" in line]


def _seen(page: Path, width: int, *arguments: str) -> dict[str, Any]:
    """What our probe, which the page's own policy would not let run, sees in a copy without it, in a frame so wide."""
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    inside = html.escape(without_policy.replace("</body>", f"<script>{PROBE}</script></body>"))
    frame = page.with_name(f"frame-{width}.html")
    frame.write_text(f'<title></title><iframe width="{width}" height="900" frameborder="0" srcdoc="{inside}"></iframe>')
    found = re.search(
        "<title>seen (.*?)</title>", _browse(frame, "--window-size=1700,1000", *arguments, "--dump-dom").stdout
    )
    assert found, "the probe did not come to its end"
    return dict(json.loads(html.unescape(found[1])))


@pytest.fixture(scope="module")
def run_page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = pages.make_run(tmp_path_factory.mktemp("page") / "run")
    run_page.write(directory, "finished")
    return directory / "report.html"


@pytest.fixture(scope="module")
def comparison_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("compare")
    runs = [pages.make_run(directory / name, logs=logs) for name, logs in (("one", 60), ("two", 90))]
    (directory / "compare.html").write_bytes(comparison.make([recorded.read(run) for run in runs]))
    return directory / "compare.html"


@pytest.mark.parametrize("page", ["run_page_file", "comparison_file"])
@pytest.mark.parametrize("width", [1600, 400])
def test_everything_is_drawn(page: str, width: int, request: pytest.FixtureRequest) -> None:
    file = request.getfixturevalue(page)
    seen, text = _seen(file, width), file.read_text()
    assert (len(seen["charts"]), len(seen["pictures"])) == (text.count('class="chart"'), text.count("<img"))
    assert all(seen["charts"])
    assert min([1, *seen["bars"], *seen["sparks"]]) > 0
    assert min(seen["pictures"]) > 0
    assert (seen["width"], seen["overflow"] <= 0) == (width, True)


@pytest.mark.parametrize("page", ["run_page_file", "comparison_file"])
def test_the_browser_complains_of_nothing(page: str, request: pytest.FixtureRequest) -> None:
    assert _complaints(request.getfixturevalue(page)) == []


def test_the_browser_runs_no_script_but_the_page_s_own(run_page_file: Path) -> None:
    hostile = run_page_file.with_name("hostile.html")
    hostile.write_text(run_page_file.read_text().replace("</body>", "<script>document.title = 'run'</script></body>"))
    assert any("Content Security Policy" in line for line in _complaints(hostile))


def test_the_pointer_reads_off_values(run_page_file: Path) -> None:
    seen = _seen(run_page_file, 1600)
    assert seen["before"] == seen["after"]
    assert "at " in seen["pointed"]
    assert "at " not in seen["before"]
    assert seen["hair"] > 0


def test_the_page_is_dark_where_that_is_preferred(run_page_file: Path) -> None:
    light, dark = (_seen(run_page_file, 800, f"--blink-settings=preferredColorScheme={n}")["paper"] for n in (1, 0))
    assert light == "rgb(251, 250, 247)"
    assert dark == "rgb(20, 22, 26)"
