"""The reporter: metrics.jsonl, TensorBoard, the console, and what happens on a full disk."""

import fcntl
import io
import json
import os
import pty
import resource
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from distgan.report.numbers import duration
from distgan.report.reporter import Reporter

VALUES = {"loss/generator": 0.9124, "loss/discriminator": 1.203, "accuracy/mean": 0.61}


def reporter(run_dir: Path, first_step: int = 0, console: TextIO | None = None) -> Reporter:
    console = console or io.StringIO()
    return Reporter(run_dir, enabled=True, first_step=first_step, console=console)


def log(run: Reporter, steps: Iterable[Any], name: str = "loss/generator", value: Any = 0.5) -> None:
    for step in steps:
        run.scalars(step, images_shown=64 * step, epoch=step / 10, values={name: value})


def pixels(number: int = 16, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, 28, 28, channels), dtype=np.uint8)


def use_everything(run: Reporter) -> None:
    run.scalars(1, 64, 0.1, VALUES)
    run.progress(**moment())
    run.say("Saved a checkpoint.")
    run.samples(1, 1, pixels())
    run.histograms(1, {"generator/kernel": np.arange(10.0)})
    run.finish()


def moment(**changes: Any) -> dict[str, Any]:
    """What is known at step 412 of 704."""
    known = {
        "step": 412,
        "total_steps": 704,
        "epoch": 1.76,
        "total_epochs": 3,
        "images_per_second": 731.4,
        "values": VALUES,
        "seconds_left": 125.2,
    }
    return known | changes


def lines_of_metrics(run_dir: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def steps_of_metrics(run_dir: Path) -> list[int]:
    return [line["step"] for line in lines_of_metrics(run_dir)]


def tensorboard(run_dir: Path) -> EventAccumulator:
    """What TensorBoard shows of a run."""
    accumulator = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def steps_of_tensorboard(run_dir: Path, name: str = "loss/generator") -> list[int]:
    return [event.step for event in tensorboard(run_dir).Tensors(name)]


def steps_on_disk(run_dir: Path) -> list[int]:
    """The steps of all summaries in TensorBoard's files, whatever a loader makes of them."""
    files = sorted((run_dir / "tensorboard").iterdir())
    events = (event for file in files for event in EventFileLoader(str(file)).Load())
    return [event.step for event in events if event.HasField("summary")]


# metrics.jsonl and TensorBoard


def test_scalars_are_on_disk_as_soon_as_they_are_reported(tmp_path: Path) -> None:
    run = reporter(tmp_path)
    before = time.time()
    run.scalars(412, images_shown=105472, epoch=1.76, values=VALUES)
    (line,) = lines_of_metrics(tmp_path)
    assert before <= line.pop("seconds") <= time.time()
    assert line == {"step": 412, "images_shown": 105472, "epoch": 1.76, **VALUES}
    for name, value in VALUES.items():
        (event,) = tensorboard(tmp_path).Tensors(name)
        assert event.step == 412
        assert event.tensor_proto.float_val == [np.float32(value)]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_a_number_that_is_none_is_null_in_json(tmp_path: Path, number: float) -> None:
    reporter(tmp_path).scalars(1, 64, 0.1, {"loss/generator": number, "loss/discriminator": 1.5})
    (line,) = lines_of_metrics(tmp_path)
    assert line["loss/generator"] is None
    assert line["loss/discriminator"] == 1.5


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    log(reporter(tmp_path), [np.int64(3)], value=np.float32(0.25))
    (line,) = lines_of_metrics(tmp_path)
    assert (line["step"], line["loss/generator"]) == (3, 0.25)


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_samples_are_a_picture_on_disk_and_the_same_in_tensorboard(tmp_path: Path, channels: int, mode: str) -> None:
    reporter(tmp_path).samples(230, 1, pixels(channels=channels))
    with Image.open(tmp_path / "samples" / "image_at_epoch_0001.png") as image:
        assert (image.mode, image.size) == (mode, (472, 472))
        on_disk = np.asarray(image)
    (event,) = tensorboard(tmp_path).Tensors("samples")
    width, height, png = event.tensor_proto.string_val
    assert (event.step, width, height) == (230, b"472", b"472")
    with Image.open(io.BytesIO(png)) as image:
        np.testing.assert_array_equal(np.asarray(image), on_disk)


@pytest.mark.parametrize(
    "values, known",
    [
        (np.random.default_rng(0).normal(size=(30, 40)), 1200),
        (np.zeros(7, np.float32), 7),
        (np.array([1, np.nan, 2, np.inf]), 2),
        (np.array([1, np.nextafter(1, 2)]), 2),
        (np.array([1, np.nextafter(1, 2, dtype=np.float32)], np.float32), 2),
        (np.array([-3e38, 3e38]), 2),
        (np.arange(5, dtype=np.float16), 5),
    ],
)
def test_a_histogram_counts_every_number(tmp_path: Path, values: np.ndarray, known: int) -> None:
    reporter(tmp_path).histograms(230, {"generator/kernel": values})
    (event,) = tensorboard(tmp_path).Tensors("generator/kernel")
    buckets = make_ndarray(event.tensor_proto)
    finite = values[np.isfinite(values)].astype(np.float32)
    assert event.step == 230
    assert buckets[:, 2].sum() == known
    assert buckets[0, 0] <= finite.min() <= finite.max() <= buckets[-1, 1]


def test_an_array_without_a_number_has_no_histogram(tmp_path: Path) -> None:
    reporter(tmp_path).histograms(1, {"empty": np.zeros(0), "nan": np.full(3, np.nan)})
    assert tensorboard(tmp_path).Tags()["tensors"] == []


def test_a_finished_run_has_its_film(tmp_path: Path) -> None:
    run = reporter(tmp_path)
    log(run, range(1, 20))
    run.samples(10, 1, pixels())
    run.samples(20, 2, pixels()[::-1])
    run.finish()
    with Image.open(tmp_path / "progress.gif") as film:
        assert len(list(ImageSequence.Iterator(film))) == 2


# Off the chief


def test_a_disabled_reporter_writes_nothing_and_says_nothing(tmp_path: Path) -> None:
    console = io.StringIO()
    use_everything(Reporter(tmp_path / "run", enabled=False, first_step=0, console=console))
    assert list(tmp_path.iterdir()) == []
    assert console.getvalue() == ""


def test_a_disabled_reporter_leaves_the_chiefs_log_alone(tmp_path: Path) -> None:
    log(reporter(tmp_path), range(5))
    Reporter(tmp_path, enabled=False, first_step=2)
    assert steps_of_metrics(tmp_path) == [0, 1, 2, 3, 4]


# Going on after a kill


@pytest.mark.parametrize("first_step, kept", [(0, []), (10, [0, 10]), (25, [0, 10, 20]), (30, [0, 10, 20, 30])])
def test_what_a_killed_run_logged_past_the_checkpoint_is_cut_off(
    tmp_path: Path, first_step: int, kept: list[int]
) -> None:
    log(reporter(tmp_path), range(0, 31, 10))
    log(reporter(tmp_path, first_step), [60])
    assert steps_of_metrics(tmp_path) == [*kept, 60]
    assert steps_of_tensorboard(tmp_path) == [*kept, 60]
    assert steps_on_disk(tmp_path) == [*kept, 60]


def test_a_name_that_does_not_come_again_is_cut_off_too(tmp_path: Path) -> None:
    run = reporter(tmp_path)
    log(run, [10, 20, 30], name="loss/old")
    run.samples(30, 3, pixels())
    log(reporter(tmp_path, 20), [25, 30])
    assert steps_of_tensorboard(tmp_path, "loss/old") == [10, 20]
    assert "samples" not in tensorboard(tmp_path).Tags()["tensors"]


def test_a_run_killed_again_and_again_shows_every_step_once(tmp_path: Path) -> None:
    for first_step, last_step in [(0, 35), (30, 70), (50, 90), (50, 55), (50, 100)]:
        log(reporter(tmp_path, first_step), range(first_step + 1, last_step + 1))
    assert steps_of_metrics(tmp_path) == list(range(1, 101))
    assert steps_of_tensorboard(tmp_path) == list(range(1, 101))


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard/events.*"])
def test_a_record_written_in_part_is_cut_off_wherever_it_ends(tmp_path: Path, name: str) -> None:
    run = reporter(tmp_path)
    log(run, [10, 20])
    (path,) = tmp_path.glob(name)
    sound = path.read_bytes()
    log(run, [30])
    longer = path.read_bytes()
    for end in range(len(sound), len(longer)):
        path.write_bytes(longer[:end])
        reporter(tmp_path, 100)
        assert path.read_bytes() == sound
    log(reporter(tmp_path, 100), [110])
    assert steps_of_metrics(tmp_path)[-1] == 110
    assert steps_of_tensorboard(tmp_path)[-1] == 110


@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(bytes(100), id="zeros"),
        pytest.param(bytes(range(100)), id="noise"),
        pytest.param(b"\xff" * 7, id="less than a header"),
    ],
)
def test_rubbish_at_the_end_of_an_event_file_is_cut_off(tmp_path: Path, rubbish: bytes) -> None:
    log(reporter(tmp_path), [10, 20])
    (events,) = (tmp_path / "tensorboard").iterdir()
    sound = events.read_bytes()
    events.write_bytes(sound + rubbish)
    log(reporter(tmp_path, 100), [110])
    assert events.read_bytes() == sound
    assert steps_of_tensorboard(tmp_path) == [10, 20, 110]


def test_a_foreign_line_among_the_metrics_is_kept(tmp_path: Path) -> None:
    log(reporter(tmp_path), [10])
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write("my note\n")
    log(reporter(tmp_path, 10), [20])
    first, note, last = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert (json.loads(first)["step"], note, json.loads(last)["step"]) == (10, "my note", 20)


def test_a_tensorboard_open_all_the_while_forgets_what_was_cut_off(tmp_path: Path) -> None:
    log(reporter(tmp_path), range(10, 51, 10))
    viewer = tensorboard(tmp_path)
    log(reporter(tmp_path, 20), [25])
    viewer.Reload()
    assert [event.step for event in viewer.Tensors("loss/generator")] == [10, 20, 25]


def test_sample_pictures_stay(tmp_path: Path) -> None:
    reporter(tmp_path).samples(30, 3, pixels())
    reporter(tmp_path, 20)
    assert (tmp_path / "samples" / "image_at_epoch_0003.png").exists()


# The console


class Clock:
    """Time that passes only when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Terminal:
    """A pseudo-terminal, and what a person sees on it."""

    def __init__(self, columns: int) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.set_blocking(self._master, False)
        self.console = open(slave, "w")  # noqa: SIM115
        self._columns = columns

    def close(self) -> None:
        self.console.close()
        os.close(self._master)

    def lines(self) -> list[str]:
        """The lines on the screen; a line that is longer than the screen goes on in the next."""
        lines, column = [""], 0
        for letter in self._written():
            if letter == "\n":
                lines.append("")
            elif letter == "\r":
                column = 0
            else:
                if column == self._columns:
                    lines, column = [*lines, ""], 0
                lines[-1] = lines[-1][:column].ljust(column) + letter + lines[-1][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines]

    def _written(self) -> str:
        written = b""
        with suppress(BlockingIOError):
            while True:
                written += os.read(self._master, 65536)
        return written.decode()


@pytest.fixture(params=[120])
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    terminal = Terminal(request.param)
    yield terminal
    terminal.close()


LINE = "epoch 2/3  step 412/704  58%  731 images/s  2m05s left  G 0.912  D 1.203  accuracy 0.610"


def test_the_live_line_says_where_the_run_is(tmp_path: Path) -> None:
    console = io.StringIO()
    reporter(tmp_path, console=console).progress(**moment())
    assert console.getvalue() == LINE + "\n"


def test_values_that_a_gan_does_not_have_are_left_out(tmp_path: Path) -> None:
    console = io.StringIO()
    reporter(tmp_path, console=console).progress(**moment(values={"loss/generator": float("nan")}))
    assert console.getvalue().endswith("images/s  2m05s left  G nan\n")


@pytest.mark.parametrize("finished, shown", [(0, "1/3"), (0.5, "1/3"), (1, "1/3"), (1.001, "2/3"), (3, "3/3")])
def test_the_epoch_under_way_is_shown(tmp_path: Path, finished: float, shown: str) -> None:
    console = io.StringIO()
    reporter(tmp_path, console=console).progress(**moment(epoch=finished))
    assert console.getvalue().startswith(f"epoch {shown}  ")


@pytest.mark.parametrize("step, percent", [(0, "0%"), (703, "99%"), (704, "100%")])
def test_a_hundred_percent_is_only_the_end(tmp_path: Path, step: int, percent: str) -> None:
    console = io.StringIO()
    reporter(tmp_path, console=console).progress(**moment(step=step))
    assert f"step {step}/704  {percent}  " in console.getvalue()


@pytest.mark.parametrize("rate, shown", [(0.32, "0.3 images/s"), (9.94, "9.9 images/s"), (12345.6, "12,346 images/s")])
def test_speed_is_shown_as_exactly_as_it_matters(tmp_path: Path, rate: float, shown: str) -> None:
    console = io.StringIO()
    reporter(tmp_path, console=console).progress(**moment(images_per_second=rate))
    assert f"  {shown}  " in console.getvalue()


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (125, "2m05s"),
        (3599.9, "1h00m"),
        (108120, "30h02m"),
        (-1, "0s"),
        (float("inf"), "?"),
        (float("nan"), "?"),
    ],
)
def test_a_duration_is_said_in_words_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_file_gets_a_plain_line_every_five_seconds_and_the_last(tmp_path: Path, clock: Clock) -> None:
    console = io.StringIO()
    run = reporter(tmp_path, console=console)
    for step in range(0, 705, 8):
        run.progress(**moment(step=step))
        clock.now += 0.25
    steps = [int(line.split()[3].partition("/")[0]) for line in console.getvalue().splitlines()]
    assert steps == [0, 160, 320, 480, 640, 704]
    assert "\r" not in console.getvalue()


def test_a_terminal_has_one_line_that_is_redrawn(tmp_path: Path, clock: Clock, terminal: Terminal) -> None:
    run = reporter(tmp_path, console=terminal.console)
    for step in (404, 408, 412):
        run.progress(**moment(step=step))
        clock.now += 0.2
    assert terminal.lines() == [LINE]


def test_a_terminal_is_redrawn_ten_times_a_second_at_most(tmp_path: Path, clock: Clock, terminal: Terminal) -> None:
    run = reporter(tmp_path, console=terminal.console)
    for step in (408, 412):
        run.progress(**moment(step=step))
        clock.now += 0.09
    assert "step 408/704" in terminal.lines()[0]


@pytest.mark.parametrize("terminal", [40], indirect=True)
def test_a_narrow_terminal_gets_as_much_as_fits(tmp_path: Path, terminal: Terminal) -> None:
    run = reporter(tmp_path, console=terminal.console)
    run.progress(**moment())
    run.progress(**moment(step=704))
    assert terminal.lines() == [LINE.replace("412", "704").replace("58%", "100%")[:39]]


def test_a_shorter_line_leaves_nothing_of_the_longer_one(tmp_path: Path, terminal: Terminal) -> None:
    run = reporter(tmp_path, console=terminal.console)
    run.progress(**moment())
    run.progress(**moment(step=704, values={}, seconds_left=0))
    assert terminal.lines() == ["epoch 2/3  step 704/704  100%  731 images/s  0s left"]


@pytest.mark.parametrize("text", ["Saved.", "A sentence that is longer than the line: " + "x" * 70])
def test_a_sentence_stands_above_the_live_line(tmp_path: Path, terminal: Terminal, text: str) -> None:
    run = reporter(tmp_path, console=terminal.console)
    run.progress(**moment())
    run.say(text)
    assert terminal.lines() == [text, LINE]


def test_what_is_printed_after_the_end_stands_below_the_live_line(tmp_path: Path, terminal: Terminal) -> None:
    run = reporter(tmp_path, console=terminal.console)
    run.progress(**moment())
    run.finish()
    run.close()
    run.say("Pictures: samples")
    assert terminal.lines() == [LINE, "Pictures: samples", ""]


def test_a_reader_who_has_gone_does_not_stop_the_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    console = open(tmp_path / "pipe", "w")  # noqa: SIM115
    os.close(reader)
    use_everything(reporter(tmp_path, console=console))
    assert steps_of_metrics(tmp_path) == [1]
    with pytest.raises(BrokenPipeError):
        console.flush()
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    console.close()
    os.close(reader)


# A full disk


@contextmanager
def tiny_disk(path: Path) -> Iterator[None]:
    """A disk of 384 kB, of which 16 kB are free."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=384k", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tiny disk needs root")
    try:
        (path / "ballast").write_bytes(bytes(368 * 1024))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def tiny_files(path: Path) -> Iterator[None]:
    """A limit of 4 kB a file, which fails at the same place as a full disk does."""
    path.mkdir()
    (path / "ballast").touch()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("shortage, reason", [(tiny_disk, "No space left on device"), (tiny_files, "File too large")])
def test_a_full_disk_is_said_once_and_does_not_stop_the_run(
    tmp_path: Path, shortage: Callable[[Path], AbstractContextManager[None]], reason: str
) -> None:
    console = io.StringIO()
    disk = tmp_path / "disk"
    with shortage(disk):
        run = reporter(disk / "run", console=console)
        log(run, range(1, 200))
        for epoch in (1, 2):
            run.samples(200, epoch, pixels())
        run.finish()
        steps = steps_of_metrics(disk / "run")
        assert 0 < len(steps) < 199
        assert steps == sorted(set(steps))
        assert set(steps_of_tensorboard(disk / "run")) < set(range(1, 200))
    said = console.getvalue().splitlines()
    assert f"Cannot write {disk}/run/metrics.jsonl: {reason}; the run continues." in said
    assert f"Cannot write {disk}/run/samples: {reason}; the run continues." in said
    assert any(line.startswith(f"Cannot write {disk}/run/tensorboard/events") for line in said)
    assert len(said) == len(set(said))


def test_a_disk_that_has_room_again_is_written_again(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with tiny_disk(disk):
        run = reporter(disk / "run")
        log(run, range(1, 200))
        (disk / "ballast").unlink()
        log(run, [200])
        run.samples(200, 1, pixels())
        run.finish()
        assert steps_of_metrics(disk / "run")[-1] == 200
        assert steps_of_tensorboard(disk / "run")[-1] == 200
        names = {path.name for path in (disk / "run").iterdir()}
    assert names == {"metrics.jsonl", "samples", "tensorboard", "progress.gif", "report.html"}


def test_a_run_directory_that_cannot_be_made_is_said_and_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    console = io.StringIO()
    use_everything(reporter(tmp_path / "file", console=console))
    said = console.getvalue().splitlines()
    assert f"Cannot write {tmp_path}/file/metrics.jsonl: Not a directory; the run continues." in said
    assert len(said) == len(set(said))
