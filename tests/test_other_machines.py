"""What the machines, files and programs of users do to distgan: cases from public reports, as in field_reports.md."""

import errno
import fcntl
import gzip
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import forks
import idx_files
import limits
import numpy as np
import picture_files
import pytest
import small_runs
import tensorflow as tf
from PIL import Image

import distgan
from distgan import paths
from distgan.config import Config
from distgan.data.arrays import open_idx
from distgan.data.base import TOO_LARGE, Wanted
from distgan.data.folders import open_folder, open_pairs
from distgan.data.images import open_picture
from distgan.errors import UserError
from distgan.replicas import launcher
from distgan.replicas.connect import connect
from distgan.store import atomic
from distgan.store.lock import RunLock

USER_PROGRAM = Path(__file__).parent / "user_program.py"
LOCKED = Path(__file__).parent / "locked.sh"
NOT_UTF_8 = os.fsdecode(b"caf\xe9")


def _run(*words: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, words)]
    return limits.run(command, **settings) if settings else forks.run(command)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    small_runs.train(directory, steps=1)
    return directory


# ---- homes and temporary directories


def test_a_cache_needs_no_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where HOME and the user are not known
    assert paths.cache_directory().is_absolute()
    assert "no home directory is known" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("distgan.train", "--run_dir=~nosuchuser/x", "--steps=1"),
        ("distgan.sample", "--run_dir=~nosuchuser/x"),
        ("distgan.sample", "--run_dir=.", "--output=~nosuchuser/x.png"),
        ("distgan.sample", "--run_dir=.", "--output=x", "--input=~nosuchuser/x.png"),
        ("distgan.evaluate", "--run_dir=~nosuchuser/x"),
        ("distgan.evaluate", "--run_dir=.", "--output=~nosuchuser/x.json"),
        ("distgan.export", "--run_dir=~nosuchuser/x"),
        ("distgan.compare", "~nosuchuser/x"),
    ],
    ids=" ".join,
)
def test_an_unknown_home_is_refused_in_one_sentence(words: tuple[str, ...]) -> None:
    answer = _run(*words)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1 and "~nosuchuser" in answer.stderr and "whole path" in answer.stderr


@pytest.mark.parametrize("data", ["folder", "idx", "pairs", "unpaired"])
def test_data_in_an_unknown_home_is_refused(data: str) -> None:
    from distgan.data.sources import open_source

    with pytest.raises(UserError, match="home directory"):
        open_source(f"{data}:~nosuchuser/x", "train", Wanted())


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, and setpriv")
def test_it_runs_as_a_user_without_a_home_where_only_the_run_directory_is_writable(tmp_path: Path) -> None:
    writable = tmp_path / "writable"
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | stat.S_IXOTH)

    def run(*words: str) -> str:
        command = ["unshare", "--mount", "sh", str(LOCKED), str(writable), sys.executable, "-m", *words]
        answer = limits.run(command, cwd=Path(__file__).parent.parent)
        assert not answer.returncode, answer.stdout + answer.stderr
        return answer.stdout

    train = ["distgan.train", *small_runs.flags(writable / "run", evaluate_every="never", max_images_per_class=30)]
    assert "finished at step 2" in run(*train, "--steps=2")
    assert "resumes from step 2" in run(*train, "--steps=4")
    assert "samples.png" in run("distgan.sample", f"--run_dir={writable}/run", f"--output={writable}/samples.png")
    assert "frechet_distance" in run("distgan.evaluate", f"--run_dir={writable}/run", "--num_images=100")


# ---- names in other encodings, and output that can't be written


@pytest.mark.slow
def test_names_in_another_encoding_end_no_run(tmp_path: Path) -> None:
    photos = picture_files.write_folder(tmp_path / "photos", 120)
    (photos / f"{NOT_UTF_8}.png").write_bytes(picture_files.BROKEN)
    flags = small_runs.flags(
        tmp_path / f"{NOT_UTF_8}-ü", steps=1, data=f"folder:{photos}", image_size="28x28", channels=1
    )
    answer = _run("distgan.train", *flags, env=os.environ | {"PYTHONIOENCODING": "ascii"}, cwd=tmp_path)
    assert not answer.returncode, answer.stderr
    assert r"caf\udce9.png is left out" in answer.stdout
    assert "finished at step 1" in answer.stdout
    assert (tmp_path / f"{NOT_UTF_8}-ü" / "report.html").exists()


def test_output_that_cannot_be_written_gets_one_sentence(run_dir: Path, tmp_path: Path) -> None:
    picture = tmp_path / "samples.png"
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "distgan.sample", f"--run_dir={run_dir}", f"--output={picture}"]
        answer = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr == (
        "distgan: The standard output can't be written to (No space left on device); files are complete.\n"
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(closed: str) -> None:
    shell = f'"$0" -m distgan.train --help {">&-" if closed == "stdout" else "2>&-"}'
    answer = limits.run(["sh", "-c", shell, sys.executable])
    assert not answer.returncode and not answer.stderr


def test_a_reader_that_has_enough_ends_nothing() -> None:
    answer = limits.run(["bash", "-c", '"$0" -m distgan.train --helpfull | head -1', sys.executable])
    assert answer.stdout.startswith("Train a GAN") and not answer.stderr


# ---- a user's own program


@pytest.mark.slow
def test_a_users_program_gets_the_same_run_and_keeps_its_settings(tmp_path: Path) -> None:
    run_dirs = [tmp_path / name for name in ("first", "second", "third", "plain")]
    keras_json = tmp_path / "keras.json"
    keras_json.write_text(json.dumps({"image_data_format": "channels_first", "floatx": "float16", "backend": "jax"}))
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}
    flags = small_runs.flags(
        run_dirs[3], batch_size=8, dropout=0.25, steps=3, seed=1, max_images_per_class=20, latent_dim=100,
        log_every_steps=20,
    )  # fmt: skip
    plain = _run("distgan.train", *flags, env=environment)
    assert not plain.returncode, plain.stderr
    program = [sys.executable, str(USER_PROGRAM), *map(str, run_dirs[:3])]
    answer = limits.run(program, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)})
    assert not answer.returncode, answer.stderr
    seen = json.loads(answer.stdout)
    assert seen["kept"] and seen["settings"] == ["mixed_bfloat16", "float16", "channels_first", 0.01]
    assert seen["printed"] and seen["bare"]
    assert seen["none"] == [0, 28, 28, 1] and seen["some"] == [2, 28, 28, 1]
    assert len(seen["refused"]) == 4 and seen["no_translations"] == [0, 28, 28, 1]
    digests = [small_runs.digest(directory, 3) for directory in run_dirs]
    assert digests[0] and len(set(digests)) == 1
    assert "retracing" not in answer.stderr


# ---- launchers' variables


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"cluster": {}, "task": {}},
        {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}},
        {"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}, "environment": "cloud"},
        {"environment": "cloud"},
    ],
    ids=str,
)
def test_a_cluster_of_one_machine_is_none(config: dict[str, Any]) -> None:
    assert launcher.worker_of_host({"TF_CONFIG": json.dumps(config)}) is None


@pytest.mark.parametrize("kind", ["ps", "evaluator"])
def test_tasks_that_do_not_train_are_refused_by_name(kind: str) -> None:
    config = {"cluster": {"worker": ["a:1", "b:1"], kind: ["c:1"]}, "task": {"type": "worker", "index": 0}}
    with pytest.raises(UserError, match=f"tasks of type {kind}"):
        launcher.worker_of_host({"TF_CONFIG": json.dumps(config)})


# ---- data


def _write_split(directory: Path, labels: np.ndarray, split: str = "train") -> None:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28), np.uint8)
    idx_files.write_idx(directory / f"{split}-images-idx3-ubyte", images)
    idx_files.write_idx(directory / f"{split}-labels-idx1-ubyte", labels)


@pytest.mark.slow
def test_classes_are_the_labels_that_occur(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for split in ("train", "t10k"):
        _write_split(data, np.array([1, 4, 4, 26, 48, 1], np.uint8), split)
    source = open_idx(str(data)).source(Wanted())
    assert source.class_names == ("1", "4", "26", "48") and source.labels is not None
    assert source.labels.tolist() == [0, 1, 1, 2, 3, 0]
    said = small_runs.train(out, steps=1, data=f"idx:{data}", conditional=True, batch_size=4)
    assert "4 classes: 1, 4, 26, 48" in said
    answer = _run(
        "distgan.sample", f"--run_dir={out}", "--classes=26,4", "--num_images=2", f"--output={tmp_path}/a.npz"
    )
    assert not answer.returncode, answer.stderr
    assert np.load(tmp_path / "a.npz")["pixels"].shape == (4, 28, 28, 1)
    answer = _run("distgan.sample", f"--run_dir={out}", "--classes=3", f"--output={tmp_path}/b.npz")
    assert answer.stderr == "distgan: The run has no class 3: its classes are 1, 4, 26, 48.\n"


def test_a_wild_label_is_named(tmp_path: Path) -> None:
    _write_split(tmp_path, np.array([1, 2_000_000_000, 3], np.int32))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte holds the label 2000000000"):
        open_idx(str(tmp_path))


def test_the_first_column_of_qmnists_labels_is_the_class(tmp_path: Path) -> None:
    _write_split(tmp_path, np.array([[5, *range(7)], [0, *range(7)], [4, *range(7)]], np.int32))
    assert open_idx(str(tmp_path)).source(Wanted()).class_names == ("0", "4", "5")


def test_equal_files_of_two_names_are_one(tmp_path: Path) -> None:
    _write_split(tmp_path, np.array([1, 2, 3], np.uint8))
    plain = tmp_path / "train-images-idx3-ubyte"
    content = plain.read_bytes()
    (tmp_path / "train-images.idx3-ubyte").write_bytes(content)
    plain.unlink()
    plain.mkdir()
    (plain / plain.name).write_bytes(content)
    assert len(open_idx(str(tmp_path)).pixels) == 3
    (plain / plain.name).rename(plain / "other-name")  # then the folder holds nothing of interest
    assert len(open_idx(str(tmp_path)).pixels) == 3
    (plain / plain.name).write_bytes(gzip.compress(content))  # equal images, but other bytes
    with pytest.raises(UserError, match="several files of images of the train split: keep one of"):
        open_idx(str(tmp_path))


def test_a_picture_beside_class_folders_is_left_out_if_classes_matter(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        picture_files.write_folder(tmp_path / name, 3)
    shutil.copy(tmp_path / "cats" / "00000.png", tmp_path / "thumbnail.png")
    by_class = open_folder(str(tmp_path), "train", Wanted(by_class=True))
    assert by_class.class_names == ("cats", "dogs") and by_class.streams == {"images": 6}
    assert by_class.notes == ("images beside the class folders are left out: thumbnail.png",)
    every = open_folder(str(tmp_path), "train", Wanted())
    assert every.streams == {"images": 7} and not every.notes


def test_a_vast_jpeg_is_decoded_small_and_a_vast_png_is_left_out_as_no_damage(tmp_path: Path) -> None:
    vast = Image.new("L", (12_000, 9_000))
    vast.save(tmp_path / "photo.jpg", quality=10)
    assert max(open_picture(tmp_path / "photo.jpg", (64, 64)).size) <= 1500
    vast.save(tmp_path / "scan.png", compress_level=1)
    for number in range(3):
        Image.new("L", (16, 16), number).save(tmp_path / f"{number}.png")
    source = open_folder(str(tmp_path), "train", Wanted(image_size=(16, 16)))
    assert source.read("images", np.arange(5)).shape == (5, 16, 16, 1)
    assert source.faults["scan.png"].startswith(TOO_LARGE)


# ---- file systems


def test_a_directory_that_cannot_be_synced_is_let_go_but_not_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuses(kind: Any) -> None:
        def of(descriptor: int) -> None:
            if kind(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", of)

    refuses(stat.S_ISDIR)
    with atomic.replaced(tmp_path / "whole", durable=True) as unfinished:
        unfinished.mkdir()
        (unfinished / "state").write_text("all")
    assert (tmp_path / "whole" / "state").read_text() == "all"
    refuses(stat.S_ISREG)
    with (
        pytest.raises(OSError, match="Invalid argument"),
        atomic.replaced(tmp_path / "file", durable=True) as unfinished,
    ):
        unfinished.write_text("lost")
    assert not (tmp_path / "file").exists()


def test_a_run_directory_is_locked_where_the_disk_has_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.check()
    assert (tmp_path / "lock").exists()
    lock.release()


# ---- values from Python


def test_paths_and_numpy_scalars_are_settings() -> None:
    config = Config(run_dir=Path("runs/x"), batch_size=np.int64(8), dropout=np.float32(0.25), mirror=np.bool_(True))
    assert (config.run_dir, config.batch_size, config.gan.dropout, config.mirror) == ("runs/x", 8, 0.25, True)
    assert all(type(value) in (str, int, float, bool, type(None)) for value in config.values().values())


# ---- further reports, by their numbers in field_reports.md


def test_a_file_replaces_no_directory(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "grid.png").mkdir()
    (tmp_path / "grid.png" / "thesis.txt").write_text("mine")
    answer = _run("distgan.sample", f"--run_dir={run_dir}", f"--output={tmp_path}/grid.png")
    assert answer.returncode == 2 and "Is a directory" in answer.stderr and answer.stderr.count("\n") == 1
    assert (tmp_path / "grid.png" / "thesis.txt").exists()
    with pytest.raises(OSError, match="directory"):
        atomic.write(Path("."), b"page")


def test_a_config_of_another_program_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1000, "loss": 0.5}\n')
    with pytest.raises(UserError, match="has unknown settings: model_type"):
        small_runs.train(tmp_path, steps=1)
    assert (tmp_path / "config.json").read_text() == '{"model_type": "bert"}'
    assert (tmp_path / "metrics.jsonl").read_text()


def test_what_a_user_keeps_beside_checkpoints_is_left_alone(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    small_runs.train(tmp_path, steps=1)
    shutil.copytree(checkpoints / "step_000000001", checkpoints / "step_000000001_backup")
    (checkpoints / "step_000000001.zip").write_text("archive")
    said = small_runs.train(tmp_path, steps=4, checkpoint_every="1steps", keep_checkpoints=1)
    kept = sorted(path.name for path in checkpoints.iterdir())
    assert kept == ["step_000000001.zip", "step_000000001_backup", "step_000000004"] and "damaged" not in said


@pytest.mark.parametrize(
    ("cluster", "kind", "index"),
    [
        ({"worker": ["a", "b"]}, "worker", 0),
        ({"worker": "127.0.0.1:29871"}, "worker", 0),
        ({"worker": ["http://a:1", "http://b:1"]}, "worker", 0),
        ({"worker": ["a:1", "b:1"]}, "worker", -1),
        ({"master": ["a:1"], "worker": ["b:1"]}, "master", 0),
    ],
    ids=str,
)
def test_a_cluster_of_a_wrong_form_is_refused(cluster: dict[str, Any], kind: str, index: int) -> None:
    text = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
    with pytest.raises(UserError, match="TF_CONFIG"):
        launcher.worker_of_host({"TF_CONFIG": text})


def test_a_launchers_variables_may_be_incomplete() -> None:
    with pytest.raises(UserError, match="HOROVOD_GLOO_RENDEZVOUS_PORT= is refused"):
        launcher.rendezvous_server({"HOROVOD_GLOO_RENDEZVOUS_ADDR": "host"})


def test_a_flag_that_tensorflow_does_not_know_is_named() -> None:
    answer = _run("distgan.train", "--steps=1", env=os.environ | {"TF_XLA_FLAGS": "--bogus"})
    assert answer.returncode and "Unknown flag in TF_XLA_FLAGS: --bogus" in answer.stderr


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--conditional=yes",), "--conditional=yes is refused: it must be true or false."),
        (("--config=",), "can't be read as a config"),
    ],
    ids=str,
)
def test_a_wrong_flag_gets_a_plain_sentence(flags: tuple[str, ...], sentence: str) -> None:
    answer = _run("distgan.train", *flags)
    assert answer.returncode == 2 and sentence in answer.stderr and answer.stderr.count("\n") == 1


def test_a_text_for_a_number_and_a_null_character_are_shown_as_they_are() -> None:
    with pytest.raises(UserError, match=r"--steps='5' is refused: it must be a whole number"):
        Config(steps="5")
    with pytest.raises(UserError, match="null character"):
        paths.local("run_dir", "runs\0train")


def test_a_run_directory_that_is_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(UserError, match="a link to nothing"):
        small_runs.train(tmp_path / "run", steps=1)


def test_folders_of_systems_are_no_classes_and_a_link_to_itself_is_one_bad_file(tmp_path: Path) -> None:
    for name in ("cats", "dogs", "@eaDir", "lost+found"):
        picture_files.write_folder(tmp_path / name, 60)
    (tmp_path / "cats" / "self.png").symlink_to("self.png")
    (tmp_path / "cats" / "photo.jfif").write_bytes((tmp_path / "cats" / "00000.png").read_bytes())
    source = open_folder(str(tmp_path), "train", Wanted())
    assert source.class_names == ("cats", "dogs") and source.streams == {"images": 122}
    assert list(source.faults) == ["cats/self.png"]


def test_pairs_in_folders_of_other_names_are_not_cut_in_halves(tmp_path: Path) -> None:
    for name in ("after", "before"):
        picture_files.write_folder(tmp_path / name, 3)
    with pytest.raises(UserError, match="named A and B: rename after and before"):
        open_pairs(str(tmp_path), "train", Wanted())


def test_train_within_a_strategy_or_a_graph_is_refused() -> None:
    with tf.distribute.OneDeviceStrategy("CPU:0").scope(), pytest.raises(UserError, match="outside of"):
        connect(Config())
    with tf.Graph().as_default(), pytest.raises(UserError, match="outside of"):
        connect(Config())


def test_tensors_are_numbers_and_classes(tmp_path: Path) -> None:
    small_runs.train(tmp_path, steps=1, conditional=True, max_images_per_class=5)
    run = distgan.load(tmp_path)
    made = run.generate(tf.constant(2), classes=tf.constant([0, 1]))
    assert np.array_equal(made, run.generate(2, classes=[0, 1]))
    with pytest.raises(TypeError):
        run.generate(4.5)  # type: ignore[arg-type]


def test_a_check_of_all_numbers_finds_nothing(tmp_path: Path) -> None:
    tf.debugging.enable_check_numerics()
    try:
        assert "finished at step 1" in small_runs.train(tmp_path, steps=1)
    finally:
        tf.debugging.disable_check_numerics()


@pytest.mark.slow
def test_a_worker_whose_port_is_in_use_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in (taken, other)]
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
        flags = small_runs.flags(tmp_path, steps=1, start_timeout_seconds=60)
        answer = _run("distgan.train", *flags, env=os.environ | {"TF_CONFIG": json.dumps(config)})
    assert answer.returncode == 2 and "is the port in use?" in answer.stderr
