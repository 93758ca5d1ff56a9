"""Draw the embedded data set of emoji again, from the SVG pictures of three npm packages.

    python benchmarks/draw_emoji.py [--output=distgan/data/emoji/emoji.npz]

Needs npm, node and the network, on Linux on x86-64 (resvg is machine code); distgan itself needs none of them. The
packages have fixed versions and are verified, so that the file has the same bytes each time. Takes about a minute.

The file is an .npz file, compressed by LZMA. It holds `name`, `category` and `base` of each emoji (the base is the name
without a skin tone), and for each style the pictures in the same order, uint8 `[number, 64, 64, 3]`. Prints the number
of emoji, the bytes, and the SHA-256 to put into distgan/data/emoji.py and SHA256SUMS.
"""

import argparse
import base64
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distgan.data import emoji

PACKAGES = {  # npm's name, with the version, and its integrity
    "@iconify-json/fluent-emoji-flat@1.2.6": (
        "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw=="
    ),
    "@iconify-json/noto@1.2.9": (
        "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw=="
    ),
    "@iconify-json/twemoji@1.2.5": (
        "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw=="
    ),
    "@resvg/resvg-js@2.6.2": (
        "sha512-xBaJish5OeGmniDj9cW5PRa/PtmuVU3ziqrbr5xJj901ZDN4TosrVaNZpEiLZAxdfnhAe7uQ7QFWfjPe9d9K2Q=="
    ),
    "@resvg/resvg-js-linux-x64-gnu@2.6.2": (
        "sha512-IVUe+ckIerA7xMZ50duAZzwf1U7khQe2E0QpUxu5MBJNao5RqC0zwV/Zm965vw6D3gGFUl7j4m+oJjubBVoftw=="
    ),
}
FOLDERS = {"fluent": "fluent-emoji-flat", "noto": "noto", "twemoji": "twemoji"}  # of the styles, in @iconify-json
NAMED_BY = "noto"  # the style whose names and categories are taken
SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
STORED_AT = (1980, 1, 1, 0, 0, 0)  # the time of the files in the zip, always the same


class Icons(NamedTuple):
    """The pictures of one package.

    bodies: the inside of an SVG file, by name, with its width and height if they are not `side`.
    names: by code points in hex, such as "1f44d-1f3fb".
    categories: by name.
    """

    bodies: dict[str, dict[str, Any]]
    side: int
    names: dict[str, str]
    categories: dict[str, str]

    def svg(self, code: str) -> str:
        """Return the picture of an emoji as an SVG file, with margins as large as the picture on each side.

        A picture that is not square is put in the middle of a square. Without margins resvg 2.6.2 aborts on a path of
        Noto's that is out of the picture.
        """
        icon = self.bodies[self.names[code]]
        width, height = icon.get("width", self.side), icon.get("height", self.side)
        side = max(width, height)
        left, top = (width - 3 * side) / 2, (height - 3 * side) / 2
        box = f'viewBox="{left} {top} {3 * side} {3 * side}"'
        size = 3 * emoji.SIDE_PIXELS
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" {box}>{icon["body"]}</svg>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=emoji.FILE, help="the zip file to write")
    output = parser.parse_args().output.resolve()
    with tempfile.TemporaryDirectory() as directory:
        modules = Path(directory) / "node_modules"
        for package, integrity in PACKAGES.items():
            _fetch(package, integrity, modules)
        styles = {style: _icons(modules / "@iconify-json" / folder) for style, folder in FOLDERS.items()}
        rows = _rows(styles[NAMED_BY], set.intersection(*(set(icons.names) for icons in styles.values())))
        codes = [code for code, *_ in rows]
        pixels = {style: _draw([icons.svg(code) for code in codes], modules) for style, icons in styles.items()}
    names = zip(("name", "category", "base"), np.array([row[1:] for row in rows]).T, strict=True)
    _write(output, dict(names) | pixels)
    content = output.read_bytes()
    print(f'{len(rows)} emoji, {len(content)} bytes\nFILE_SHA256 = "{hashlib.sha256(content).hexdigest()}"')


def _fetch(package: str, integrity: str, modules: Path) -> None:
    """Unpack a package of npm where node finds it; stops if it is not the one that is expected."""
    folder = modules / package.rpartition("@")[0]
    folder.mkdir(parents=True)
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True
    )
    content = (folder / packed.stdout.split()[-1]).read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != integrity:
        raise SystemExit(f"{package} has the integrity {found}: expected {integrity}.")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
    for path in (folder / "package").iterdir():
        path.rename(folder / path.name)


def _icons(folder: Path) -> Icons:
    icons, codes, groups = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("icons", "chars", "metadata")
    )
    categories = {name: category for category, names in groups["categories"].items() for name in names}
    return Icons(icons["icons"], icons["height"], codes, categories)


def _rows(icons: Icons, codes: set[str]) -> list[tuple[str, str, str, str]]:
    """Return (code points, name, category, name of the base) of each emoji, ordered by the base, which comes first."""
    bases = {code: "-".join(part for part in code.split("-") if part not in SKIN_TONES) for code in codes}
    names = icons.names
    return [
        (code, names[code], icons.categories[names[code]], names[bases[code] or code])
        for code in sorted(codes, key=lambda code: (bases[code], code))
    ]


def _draw(pictures: list[str], modules: Path) -> np.ndarray:
    """Return SVG pictures as uint8 `[n, side, side, 3]`, on white, without their margins."""
    side = emoji.SIDE_PIXELS
    words = [
        "node",
        str(Path(__file__).with_suffix(".cjs")),
        str(modules / "@resvg" / "resvg-js"),
        str(3 * side),
        str(side),
    ]
    drawn = subprocess.run(words, input=json.dumps(pictures).encode(), check=True, stdout=subprocess.PIPE).stdout
    pixels = np.frombuffer(drawn, np.uint8).reshape(len(pictures), side, side, 4)
    if (pixels[..., 3] != 255).any() or (pixels == 255).all((1, 2, 3)).any():
        raise SystemExit("A picture is blank or transparent.")
    return pixels[..., :3]


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as an .npz file that is compressed by LZMA, with the same bytes each time."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            stored = io.BytesIO()
            np.save(stored, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", STORED_AT), stored.getvalue(), zipfile.ZIP_LZMA)


if __name__ == "__main__":
    main()
