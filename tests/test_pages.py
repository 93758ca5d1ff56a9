"""The page of a run, and that of several: what they show, and that what they show does nothing."""

import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pages
import pytest
import small_runs
from PIL import Image

from distgan import pictures
from distgan.report import charts, comparison, numbers, recorded, run_page
from distgan.report.charts import Axis, Line
from distgan.store import atomic

HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"&\x00"


def _page(directory: Path, state: str = "finished") -> bytes:
    return run_page.make(recorded.read(directory), state)


def test_every_curve_has_as_many_points_as_the_log(tmp_path: Path) -> None:
    figures = pages.figures(pages.parsed(_page(pages.make_run(tmp_path))))
    assert {title: pages.points(figure) for title, figure in figures.items()} == {
        "Frechet distance": [10, 10, 10], "Kernel distance": [10, 10], "Precision and recall": [10] * 4,
        "Density and coverage": [10] * 4, "Classifier score": [10, 10, 10], "Class accuracy": [10, 10],
        "Entropy of the classes": [10, 10], "KL to uniform": [10, 10], "Modes": [10, 10],
        "Nearest neighbours": [10, 10, 10], "Shares of the classes": [],
        "Losses": [300, 300], "Accuracies": [300], "Gradient norms": [300], "Learning rates": [300], "Cycle": [300],
        "Images a second": [300],
    }  # fmt: skip
    assert len(figures["Shares of the classes"].findall("div/div")) == 10


def test_what_was_measured_once_is_in_the_table_only(tmp_path: Path) -> None:
    tree = pages.parsed(_page(pages.make_run(tmp_path, logs=40)))
    assert "Frechet distance" not in pages.figures(tree)
    (table,) = [table for table in tree.iter("table") if table.attrib.get("class") == "measures"]
    assert "frechet distance" in pages.text(table)


def _chart(*lines: Line, axis: Axis = Axis()) -> charts.Chart:  # noqa: B008
    found = charts.chart("Loss", "step", lines, axis)
    assert found is not None
    return found


def test_a_long_log_is_drawn_by_means_of_neighbours() -> None:
    x = np.arange(100_000.0)
    (line,) = _chart(Line("loss", 0, x, x % 2)).data["lines"]
    assert len(line["x"]) == charts.MOST_POINTS
    assert set(line["y"]) <= {0.497, 0.5, 0.503}
    assert len(line["smooth"]) == charts.MOST_POINTS


def test_means_of_neighbours_leave_out_what_is_not_known() -> None:
    x = np.arange(7.0 * charts.MOST_POINTS)
    (line,) = _chart(Line("loss", 0, x, np.where(x % 7 == 3, 2.0, np.nan))).data["lines"]
    assert set(line["y"]) == {2.0}


def test_unknown_values_are_gaps() -> None:
    (line,) = _chart(Line("loss", 0, np.arange(4.0), np.array([1.0, np.nan, 2.0, 3.0]))).data["lines"]
    assert line["y"] == [1.0, None, 2.0, 3.0]


def test_one_spike_does_not_flatten_the_curve() -> None:
    y = np.linspace(0.0, 1.0, 100)
    y[50] = 1e6
    assert _chart(Line("loss", 0, np.arange(100.0), y)).data["limits"][1] < 5


def test_one_spike_does_not_lift_the_smoothed_curve() -> None:
    y = 0.4 + 0.2 * (np.arange(100.0) % 2)
    y[50] = 1e6
    (line,) = _chart(Line("loss", 0, np.arange(100.0), y)).data["lines"]
    assert min(line["smooth"]) >= 0.4 and max(line["smooth"]) < 0.7


def test_half_a_line_of_metrics_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss/generator": 0.5}\n{"step": 2, "epo\n7\n')
    assert recorded.read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss/generator": 0.5}]


def test_nothing_is_drawn_of_what_is_not_known() -> None:
    assert charts.chart("Loss", "step", [Line("loss", 0, np.arange(2.0), np.full(2, np.nan))]) is None


@pytest.mark.parametrize(
    "values",
    [[0.0], [-3.0, -3.0], [1e99, -1e99], [1.0, 1.0 + 1e-15], [1e-99, 0.0], [5.0, 1e80], [1e-90, 1e90], [1e-30] * 50],
)
@pytest.mark.parametrize("logarithmic", [False, True])
def test_any_numbers_have_axes(values: list[float], logarithmic: bool) -> None:
    y = np.array(values)
    low, high = _chart(Line("loss", 0, np.arange(len(y)), y), axis=Axis(logarithmic)).data["limits"]
    assert np.isfinite([low, high]).all()
    assert low < high


def test_an_axis_is_logarithmic_where_it_is_of_use() -> None:
    def is_logarithmic(*values: float) -> bool:
        return charts._limits(np.array(values), Axis(logarithmic=True))[0]

    assert is_logarithmic(1, 50)
    assert not is_logarithmic(1, 5)
    assert not is_logarithmic(-1, 50)


def test_an_axis_ends_where_it_is_asked_to_unless_values_are_beyond() -> None:
    def ends(*values: float, axis: Axis) -> tuple[float, float]:
        return charts._limits(np.array(values), axis)[1]

    room = 1 + charts.ROOM
    assert ends(0.93, axis=Axis(least=0.0, most=1.0)) == (0, room)
    assert ends(-0.5, 3.0, axis=Axis(least=0.0, most=1.0)) == pytest.approx((-0.5, 3.5 * room - 0.5))
    assert 0 < ends(1.0, 50.0, axis=Axis(logarithmic=True, least=0.0))[0] < 1.3


def test_a_single_reference_is_a_line_across_the_whole_width() -> None:
    once = np.array([7.0])
    score, real = _chart(Line("score", 0, once, once), Line("real", 1, once, once, "reference")).data["lines"]
    assert (score["x"], score["y"]) == ([7.0], [7.0])
    assert (real["x"], real["y"]) == ([0.0, 7.0], [7.0, 7.0])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.03124, "0.0312"), (1e-5, "1e-5"), (1234.4, "1,234"), (12_500, "12.5k"), (-3e6, "−3M"), (100, "100")],  # noqa: RUF001
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert numbers.short(value) == shown


# What comes from outside


class _Seen(HTMLParser):
    """What a browser would find: elements, and the values of attributes that could run or load something."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script" and ("type", "application/json") not in attrs
        self.active += [f"{key}={value}" for key, value in attrs if key.startswith("on") or key in ("src", "href")]


def _hostile_run(tmp_path: Path) -> Path:
    directory = pages.make_run(tmp_path / HOSTILE.replace("/", "").replace("\x00", ""), logs=60)
    for name in ("config.json", "environment.json", "metrics.jsonl"):
        path = directory / name
        words = json.dumps(HOSTILE)[1:-1]
        changed = path.read_text().replace("node1", words).replace('"mnist"', f'"{words}"').replace("odd", words)
        path.write_text(changed.replace("cycle/A", f"cycle/{words}").replace("cycle/", f"{words}/"))
    return directory


def test_what_comes_from_outside_is_text(tmp_path: Path) -> None:
    directory = _hostile_run(tmp_path)
    for page in (_page(directory, "stopped"), comparison.make([recorded.read(directory)] * 2)):
        seen = _Seen()
        seen.feed(page.decode())
        assert "alert(1)" in pages.text(pages.parsed(page))
        assert seen.scripts == 1
        assert all(one.startswith("src=data:image/png;base64,") or one == "href=#warnings" for one in seen.active)


def test_only_the_page_s_own_script_may_run(tmp_path: Path) -> None:
    tree = pages.parsed(_page(pages.make_run(tmp_path, logs=60)))
    (policy,) = [meta.attrib["content"] for meta in tree.iter("meta") if "http-equiv" in meta.attrib]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert not [one for one in tree.iter() if one.tag in ("link", "iframe", "object")]


# What is there is shown, and what is not is left out


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    tree = pages.parsed(_page(tmp_path, "running"))
    assert "nothing is logged yet" in pages.text(tree)
    assert pages.figures(tree) == {}


def test_lines_that_are_none_of_a_run_s_are_left_out(tmp_path: Path) -> None:
    directory = pages.make_run(tmp_path, logs=60)
    whole = _page(directory)
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(pages.moment(1) | {"step": 10**400}) + "\n")
        file.write('my note\n{"step": "three"}\n[1]\n{"step": 3, "loss/generator": 1}\n')
    assert _page(directory) == whole


def test_numbers_out_of_all_bounds_do_not_end_a_run(tmp_path: Path) -> None:
    with (tmp_path / "metrics.jsonl").open("w") as file:
        for step, value in enumerate([1e308, -1e308, 1e-320, 0, None, "text", [1], float("inf"), 10**400, True]):
            file.write(json.dumps(pages.moment(step + 1) | {"loss/generator": value, "quality/modes": value}) + "\n")
    (tree,) = [pages.parsed(_page(tmp_path))]
    assert pages.points(pages.figures(tree)["Losses"]) == [3]


def test_time_between_a_stop_and_the_next_start_is_no_training(tmp_path: Path) -> None:
    lines = [pages.moment(10, 1000), pages.moment(20, 1000), pages.moment(30, 9000), pages.moment(40, 9000)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    starts = {"starts": [{"seconds": 999.5}, {"seconds": 9002.5}]}
    (tmp_path / "environment.json").write_text(json.dumps(starts))
    spent = [record["training_seconds"] for record in recorded.read(tmp_path).records]
    assert spent == pytest.approx([1.5, 2.5, 3.0, 4.0])


def test_samples_are_in_the_order_of_the_run(tmp_path: Path) -> None:
    directory = pages.make_run(tmp_path, logs=60)  # 100 steps an epoch
    pictures.save_png(directory / "samples" / "image_at_epoch_0002.png", np.zeros((4, 4, 1), np.uint8))
    pictures.save_png(directory / "samples" / "image_at_step_000050.png", np.zeros((4, 4, 3), np.uint8))
    moments = [sample.moment for sample in recorded.read(directory).samples]
    assert moments == ["step 50", "step 100", "epoch 2"]


def test_a_large_picture_is_shrunk_and_a_damaged_one_left_out(tmp_path: Path) -> None:
    large, damaged = tmp_path / "large.png", tmp_path / "damaged.png"
    atomic.write(large, pictures.encode_png(np.random.default_rng(0).integers(0, 256, (900, 1300, 3), np.uint8)))
    damaged.write_bytes(large.read_bytes()[:1000])
    assert large.stat().st_size > 3e6
    small = recorded._png(large)
    assert small is not None
    assert len(small) <= recorded.MOST_PICTURE_BYTES
    with Image.open(io.BytesIO(small)) as image:
        assert image.size == (325, 225)
    assert recorded._png(damaged) is None


def test_the_page_says_what_differs_from_the_preset(tmp_path: Path) -> None:
    tree = pages.parsed(_page(pages.make_run(tmp_path, logs=60, filters=8)))
    differs, rest = [
        {pages.text(row[0]): pages.text(row[1]) for row in table.iter("tr")}
        for table in tree.iter("table") if table.attrib.get("class") == "flags"
    ]  # fmt: skip
    assert differs == {"flag": "value", "--filters": "8", "--steps": "120"}
    assert rest["--latent_dim"] == "100"
    assert "--cycle_weight" not in rest


def test_the_page_names_the_rank_that_is_waited_for(tmp_path: Path) -> None:
    words = pages.text(pages.parsed(_page(pages.make_run(tmp_path, logs=60, ranks=3))))
    assert "The median step takes 512 ms. Rank 2 is the slowest to get its data: it waits 100 ms a step." in words
    many = pages.make_run(tmp_path / "many", logs=60, ranks=40)
    assert "Of 40 ranks, the 16 that wait longest are shown." in pages.text(pages.parsed(_page(many)))


def test_a_measure_stands_beside_what_real_images_have(tmp_path: Path) -> None:
    tree = pages.parsed(_page(pages.make_run(tmp_path, logs=60)))
    (table,) = [table for table in tree.iter("table") if table.attrib.get("class") == "measures"]
    rows = {pages.text(row[0]): [pages.text(cell) for cell in row[1:]] for row in table.iter("tr")}
    assert rows["measure"] == ["of the samples", "by raw weights", "of real images", ""]
    assert {name: row[2] for name, row in rows.items() if row[2]} == {
        "measure": "of real images", "frechet distance": "2", "kernel distance": "0", "density": "1",
        "classifier score": "9.8", "nearest neighbour ratio": "1",
    }  # fmt: skip
    assert rows["class accuracy"][:2] == ["0.409", "0.409"]
    assert rows["entropy"][3].endswith("up to ln 10 = 2.3.")
    assert rows["modes"][3].endswith("up to 10.")


def test_the_head_says_how_old_the_newest_warning_is(tmp_path: Path) -> None:
    directory = pages.make_run(tmp_path, logs=60)
    assert "1 warning, at step 120" in pages.text(pages.parsed(_page(directory)))
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(pages.moment(1300) | {"warning": "Again."}) + "\n")
    assert "2 warnings, the last at step 1,300" in pages.text(pages.parsed(_page(directory)))


def test_a_run_has_made_no_more_epochs_than_it_was_to_make(tmp_path: Path) -> None:
    directory = pages.make_run(tmp_path, logs=301, steps=None, epochs=6)  # 6.02, by its last batch
    assert "epoch6 of 6" in pages.text(pages.parsed(_page(directory)))


def test_digests_are_shown_by_their_beginning(tmp_path: Path) -> None:
    directory, digest = pages.make_run(tmp_path, logs=60), "0123456789abcdef" * 4
    manifest = directory / "checkpoints" / "step_000000120" / "manifest.json"
    atomic.write(manifest, json.dumps({"data": digest, "state_digest": digest, "num_classes": 10}).encode())
    tree = pages.parsed(_page(directory))
    assert [one.text for one in tree.iter() if one.attrib.get("title") == digest] == ["0123456789ab…"] * 2
    facts = {pages.text(one[0]) for one in tree.iter("div") if len(one) == 2 and one[0].tag == "dt"}
    assert facts >= {"data's digest", "state's digest", "number of classes"}


# The page of several runs


def _compare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "distgan.compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_runs_are_drawn_on_one_page_by_both_clocks(tmp_path: Path) -> None:
    first, second = pages.make_run(tmp_path / "one", logs=60), pages.make_run(tmp_path / "two", logs=90, filters=8)
    answer = _compare(first, f"--output={tmp_path / 'new' / 'page.html'}", second)
    assert not answer.returncode, answer.stderr
    said = answer.stdout.splitlines()
    assert said[0].split() == ["one", "two"]
    assert said[1].split() == ["frechet_distance", "18.2", "14.3"] and said[-1] == str(tmp_path / "new" / "page.html")
    tree = pages.parsed((tmp_path / "new" / "page.html").read_bytes())
    losses = [f for f in tree.iter("figure") if pages.text(f).startswith("Losses: generator")]
    assert [pages.points(figure) for figure in losses] == [[60, 90], [60, 90]]
    assert [figure.find("p").text for figure in losses] == ["images shown", "seconds of training"]  # type: ignore[union-attr]
    rows = {pages.text(row[0]): [pages.text(cell) for cell in row[1:]] for row in tree.iter("tr")}
    assert rows["step"] == ["120", "180"]
    assert rows["--filters"] == ["64", "8"]
    assert rows["modes"] == ["4.55", "3.57"]
    assert rows["images a second, median"] == ["500", "500"]
    named = list(rows)
    assert named.index("Quality") < named.index("class accuracy") < named.index("kl to uniform") < named.index("Losses")
    assert not [name for name in named if "raw" in name]
    assert "--latent_dim" not in rows
    assert len(list(tree.iter("img"))) == 2


def _compared(tmp_path: Path, **config: Any) -> ElementTree.Element:
    """The page of two runs, the second with settings of its own."""
    directories = pages.make_run(tmp_path / "one", logs=60), pages.make_run(tmp_path / "two", logs=90, **config)
    return pages.parsed(comparison.make([recorded.read(directory) for directory in directories]))


def test_the_better_value_of_a_row_is_marked(tmp_path: Path) -> None:
    tree = _compared(tmp_path)
    rows = {pages.text(row[0]): [cell.find("b") is not None for cell in row[1:]] for row in tree.iter("tr")}
    assert [rows[name] for name in ("frechet distance", "precision", "frechet floor", "density", "generator")] == [
        [False, True], [True, False], [False, False], [False, False], [False, False],
    ]  # fmt: skip


def test_distances_measured_in_other_ways_are_not_to_be_compared(tmp_path: Path) -> None:
    def cautions(**config: Any) -> list[str]:
        return [pages.text(p) for p in _compared(tmp_path, **config).iter("p") if p.attrib.get("class") == "caution"]

    assert cautions(filters=8) == []
    said = "Samples were measured by different --evaluate_num_images: distances of such runs can't be compared."
    assert cautions(evaluate_num_images=500) == [said, said]  # at the numbers, and at the curves
    assert cautions(data="fashion_mnist")[0].startswith("Samples were measured by different --data:")
    assert not [row for row in _compared(tmp_path, data="fashion_mnist").iter("td") if row.find("b") is not None]
    for name, features in (("two", "imagenet"), ("one", "digits")):
        assert "different --data:" in " ".join(comparison.summary(_read(tmp_path)))  # where it is not recorded
        (tmp_path / name / "environment.json").write_text(
            json.dumps({"starts": [{"seconds": 1000, "features": features}, {"seconds": 1001}]})
        )
    assert "Samples were measured by different --data and --features:" in " ".join(comparison.summary(_read(tmp_path)))


def _read(directory: Path) -> list[recorded.Recorded]:
    return [recorded.read(directory / name) for name in ("one", "two")]


def test_a_run_without_scores_is_named(tmp_path: Path) -> None:
    runs = [recorded.read(pages.make_run(tmp_path / name, logs=logs)) for name, logs in (("one", 60), ("short", 20))]
    assert list(comparison.summary(runs))[-1] == (
        "not measured while training, so without scores: short (--evaluate_every)"
    )


def test_each_plot_of_a_measure_says_what_it_is(tmp_path: Path) -> None:
    notes = {title: pages.text(figure).rpartition("training")[2].strip()
             for title, figure in pages.figures(_compared(tmp_path)).items()}  # fmt: skip
    assert notes["Precision"] == "Share of samples that look like real images: higher is better."
    assert notes["Recall"] == "Share of real images that look like samples: higher is better."
    assert notes["Modes"] == "Number of classes among the samples: higher is better, up to 10."


def test_runs_of_one_name_go_by_their_paths(tmp_path: Path) -> None:
    runs = [recorded.read(pages.make_run(tmp_path / parent / "run", logs=60)) for parent in ("a", "b")]
    words = pages.text(pages.parsed(comparison.make(runs)))
    assert str(tmp_path / "a" / "run") in words
    assert str(tmp_path / "b" / "run") in words


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "No run directory is given: pass them as plain arguments, e.g. runs/mnist runs/fashion."),
        (("nowhere",), "nowhere is not a run directory, or nothing is logged yet: no metrics.jsonl."),
        (("gs://bucket/run",), "--run_dir=gs://bucket/run must be a local path: mount the bucket, "
                                "e.g. with gcsfuse, or copy it."),
        (("{run}", "--output=/dev/null/new/page.html"), "/dev/null/new/page.html: Not a directory."),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_a_sentence(arguments: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    run = pages.make_run(tmp_path / "run", logs=60)
    answer = _compare(*(argument.format(run=run) for argument in arguments))
    assert (answer.returncode, answer.stderr.strip()) == (2, f"distgan: {sentence}")


# A real run


def test_a_run_leaves_its_page_and_its_environment(tmp_path: Path) -> None:
    said = small_runs.train(tmp_path, steps=4, sample_every="2steps")
    assert f"page         {tmp_path}/report.html" in said
    words = pages.text(pages.parsed((tmp_path / "report.html").read_bytes()))
    assert "finished" in words
    assert "4 of 4" in words
    small_runs.train(tmp_path, steps=6)
    starts = json.loads((tmp_path / "environment.json").read_text())["starts"]
    assert [start["first_step"] for start in starts] == [0, 4]
    assert (starts[0]["backend"], starts[0]["precision"]) == ("single", "float32")
