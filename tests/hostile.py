"""All that comes from outside, as functions of bytes that must end well or with one sentence, whatever the bytes."""

import hashlib
import importlib.util
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from absl import flags
from idx_files import idx_bytes, write_idx
from PIL import Image
from torch_files import VALID

from distgan.config import Config, command_line, load_config
from distgan.config.config import options
from distgan.data.archives import open_tar, open_zip
from distgan.data.arrays import open_idx
from distgan.data.base import Wanted
from distgan.data.idx import read_idx
from distgan.data.images import BadImageError, fitted, open_picture
from distgan.data.npz import open_npz
from distgan.data.parquet import open_parquet
from distgan.errors import UserError
from distgan.replicas import cluster, launcher
from distgan.store import checkpoint


class Target(NamedTuple):
    """What reads something from outside.

    read: takes bytes and an empty directory; valid: bytes that it accepts, to be mutated.
    """

    read: Callable[[bytes, Path], object]
    valid: Callable[[], list[bytes]]


def meets(target: Target, content: bytes) -> bool:
    """Whether the content is accepted; what is refused has got a sentence. Any other exception is the finding."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            target.read(content, Path(directory))
        except (UserError, BadImageError):
            return False
    return True


def _idx(content: bytes, directory: Path) -> None:
    (directory / "images").write_bytes(content)
    read_idx(directory / "images")


def _idx_set(content: bytes, directory: Path) -> None:
    """The first bytes are how many of them are images; the rest are labels."""
    cut = int.from_bytes(content[:2])
    (directory / "train-images-idx3-ubyte").write_bytes(content[2 : 2 + cut])
    (directory / "train-labels-idx1-ubyte").write_bytes(content[2 + cut :])
    open_idx(str(directory))


def _picture(content: bytes, directory: Path) -> None:
    (directory / "picture.png").write_bytes(content)
    fitted(open_picture(str(directory / "picture.png"), (8, 8)), (8, 8, 3), "crop")


def _npz(content: bytes, directory: Path) -> None:
    (directory / "images.npz").write_bytes(content)
    open_npz(str(directory / "images.npz"))


def _zip(content: bytes, directory: Path) -> None:
    (directory / "x.zip").write_bytes(content)
    open_zip(str(directory / "x.zip"), "train", Wanted(image_size=(8, 8)))


def _tar(content: bytes, directory: Path) -> None:
    (directory / "x.tar").write_bytes(content)
    open_tar(str(directory / "x.tar"), "train", Wanted(image_size=(8, 8)))


def _parquet(content: bytes, directory: Path) -> None:
    import datasets

    (directory / "x.parquet").write_bytes(content)
    with mock.patch.object(datasets.config, "HF_DATASETS_CACHE", directory / "cache"):
        open_parquet(str(directory / "x.parquet"), "train", Wanted(image_size=(8, 8)))


def _torch(content: bytes, directory: Path) -> None:
    from distgan.metrics.imagenet import read_tensors  # with TensorFlow, which the others do not need

    read_tensors(content, "x.pth")


def _config(content: bytes, directory: Path) -> None:
    (directory / "config.json").write_bytes(content)
    load_config(directory / "config.json")


def _manifest(content: bytes, directory: Path) -> None:
    _write_checkpoint(directory, content, _state())
    checkpoint.load_newest(directory)


def _state_file(content: bytes, directory: Path) -> None:
    """A state that the manifest vouches for: only its reader stands between it and us."""
    _write_checkpoint(directory, json.dumps(_facts(content)).encode(), content)
    checkpoint.load_newest(directory)


def _flags(content: bytes, directory: Path) -> None:
    values = flags.FlagValues()
    for name in ("config", *options()):
        values[name] = flags.FLAGS[name]
    values.unparse_flags()
    for flag in values:
        values[flag].unparse()
    try:
        values(["train", *content.decode(errors="replace").split("\0")])
    except flags.Error as error:
        raise UserError(str(error)) from None
    command_line.from_flags(values)


def _environment(content: bytes, directory: Path) -> None:
    entries = (entry.partition("=") for entry in content.decode(errors="replace").split("\0"))
    environment = {name: value for name, _, value in entries}
    launcher.launched_size(environment)
    launcher.launched_rank(environment)
    launcher.place_on_host(environment)
    if not launcher.worker_of_host(environment):
        cluster._Launch.of(environment)


def _write_checkpoint(directory: Path, manifest: bytes, state: bytes) -> None:
    path = directory / "step_000000007"
    path.mkdir()
    (path / checkpoint.MANIFEST_FILE).write_bytes(manifest)
    (path / checkpoint.STATE_FILE).write_bytes(state)


def _facts(state: bytes) -> dict[str, object]:
    return {"step": 7, "images_shown": 112, "state_digest": "0", "data": "0", "image_shape": [28, 28, 1],
            "precision": "float32", "files": {checkpoint.STATE_FILE: hashlib.sha256(state).hexdigest()}}  # fmt: skip


@cache
def _state() -> bytes:
    return _saved(a=np.arange(6, dtype=np.float32).reshape(2, 3), step=np.array(7))


def _saved(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _pictures() -> list[bytes]:
    levels = np.random.default_rng(0).integers(0, 256, (12, 10, 4), np.uint8)
    made = []
    for kind, channels in (("PNG", 4), ("PNG", 1), ("JPEG", 3), ("GIF", 3), ("BMP", 3), ("WEBP", 4)):
        buffer = io.BytesIO()
        Image.fromarray(levels[..., :channels].squeeze()).save(buffer, kind)
        made.append(buffer.getvalue())
    return made


def _zips() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("a/1.png", _pictures()[0])
            archive.writestr("dataset.json", '{"labels": [["a/1.png", 3]]}')
        made.append(buffer.getvalue())
    return made


def _tars() -> list[bytes]:
    made = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for name, content in (("1.cls", b"3"), ("1." + "x" * 200 + ".png", _pictures()[0])):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        made.append(buffer.getvalue())
    return made


def _parquets() -> list[bytes]:
    from pyarrow import BufferOutputStream, parquet, table

    made = []
    for packed in ("none", "zstd"):
        stream = BufferOutputStream()
        columns = {"image": [{"bytes": picture} for picture in _pictures()[:2]], "label": ["b", "a"]}
        parquet.write_table(table(columns), stream, compression=packed)
        made.append(stream.getvalue().to_pybytes())
    return made


IMAGES = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)


def _idx_sets() -> list[bytes]:
    images = idx_bytes(IMAGES)
    return [len(images).to_bytes(2) + images + idx_bytes(np.array([0, 1, 2], np.uint8))]


def _idx_files() -> list[bytes]:
    with tempfile.TemporaryDirectory() as directory:
        packed = Path(directory) / "x.gz"
        write_idx(packed, np.ones((2, 5), np.int16))
        return [packed.read_bytes(), idx_bytes(np.ones((2, 3), np.float32)), idx_bytes(IMAGES)]


TARGETS = {
    "idx": Target(_idx, _idx_files),
    "idx data set": Target(_idx_set, _idx_sets),
    "pictures": Target(_picture, _pictures),
    "npz": Target(_npz, lambda: [_saved(pixels=np.zeros((2, 4, 4, 1), np.uint8))]),
    "zip": Target(_zip, _zips),
    "tar": Target(_tar, _tars),
    "config": Target(_config, lambda: [Config(preset=name).to_json().encode() for name in ("mnist", "mlp")]),
    "manifest": Target(_manifest, lambda: [json.dumps(_facts(_state())).encode()]),
    "state": Target(_state_file, lambda: [_state()]),
    "flags": Target(_flags, lambda: [b"--preset=mnist\0--epochs=3\0--batch_size=64\0--loss=hinge",
                                     b"--image_size=28x28\0--profile_steps=3:7\0--noconditional\0--seed=1"]),
    "environment": Target(_environment, lambda: [
        b"HOROVOD_SIZE=4\0HOROVOD_RANK=1\0HOROVOD_LOCAL_RANK=1\0HOROVOD_LOCAL_SIZE=4",
        b'TF_CONFIG={"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}',
        b"SLURM_STEP_NUM_TASKS=4\0SLURM_PROCID=1\0SLURM_LOCALID=0\0SLURM_STEP_TASKS_PER_NODE=2(x2)"
        b"\0SLURM_STEP_NODELIST=node[01-02]",
        b"WORLD_SIZE=4\0RANK=1\0LOCAL_RANK=0\0LOCAL_WORLD_SIZE=2\0MASTER_ADDR=a\0MASTER_PORT=29500",
    ]),
    "torch": Target(_torch, lambda: [VALID]),
}  # fmt: skip
if importlib.util.find_spec("datasets"):
    TARGETS["parquet"] = Target(_parquet, _parquets)
