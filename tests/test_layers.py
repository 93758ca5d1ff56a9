"""The house's storeys: a module imports only from lower ones."""

import ast
from pathlib import Path

import pytest

import distgan

# Lowest first; modules of one storey may import each other.
STOREYS = (
    ("errors", "tracing"),
    ("paths", "store.atomic"),
    ("config.fields", "config.presets", "config.older"),
    ("gans.options", "gans.augmentation_options"),
    ("gans.noise_to_image_options", "gans.translation_options", "gans.residual_options"),
    ("gans.registry",),
    ("config", "pictures", "replicas.launcher"),
    ("replicas.watchdog",),
    ("report",),
    ("replicas",),
    ("store",),
    ("data",),
    ("nets", "gans.losses", "gans.augmentation"),
    ("gans", "metrics"),
    ("training.precision", "training.optimizers", "training.ema"),
    ("training.state", "training.clock", "training.evaluation", "training.environment"),
    ("training.step", "training.pace", "training.profiler", "training.signals", "training.feed", "training.health"),
    ("training.trainer",),
    ("training.log",),
    ("training.loop",),
    ("training.elastic",),
    ("run", "latents", "latent_search", "program", "hardware", "trials", "dry_run"),
    ("serving", "formats", "latent_page", "model_card"),
    ("dcgan", "train", "sample", "project", "evaluate", "export", "compare", "doctor"),
    ("launch", "launch_agent", "sweep"),
    ("cli", "__main__"),
)
PACKAGE = Path(distgan.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
}


def _storey(module: str) -> int:
    """The storey of the longest name that the module is in."""
    places = [(len(name), number) for number, names in enumerate(STOREYS) for name in names
              if module == name or module.startswith(f"{name}.")]  # fmt: skip
    return max(places, default=(0, -1))[1]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("distgan"):
            base = (node.module or "").removeprefix("distgan").removeprefix(".")
            names = [f"{base}.{alias.name}".removeprefix(".") for alias in node.names]
            found.update(name if name in MODULES else base for name in names)
        elif isinstance(node, ast.Import):
            found.update(a.name.removeprefix("distgan.") for a in node.names if a.name.startswith("distgan."))
    return found - {""}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_has_a_storey_and_imports_only_from_lower_ones(module: str) -> None:
    empty_packages = {"replicas", "data", "nets", "gans", "training", "metrics"}
    assert module in empty_packages or _storey(module) >= 0, f"{module} has no storey"
    higher = [name for name in _imports(MODULES[module]) if _storey(name) > _storey(module)]
    assert not higher, f"{module} imports {higher} from above"


def test_networks_losses_and_data_know_no_config_and_do_not_communicate() -> None:
    for module, path in MODULES.items():
        if module.startswith(("data", "nets", "gans.losses", "gans.augmentation")):
            assert not _imports(path) & {"config", "replicas.hvd", "replicas.strategy", "replicas.connect"}, module


LOOKS = (  # what looks at runs and measures them; all else trains
    "report", "metrics", "pictures", "doctor", "hardware", "sample", "evaluate", "compare", "training.log",
    "training.health", "training.environment", "training.evaluation", "training.profiler", "latent_search", "project",
    "dry_run", "latents",
)  # fmt: skip
HANDS_OVER = (  # writes a run in the formats of other programs
    "export", "serving", "latent_page", "formats", "model_card", "report.trackers", "report.hparams",
)  # fmt: skip
WIDENS = (  # more data, networks and features of a kind that is there already: nothing else needs these to be read
    "data.archives", "data.emoji", "data.npz", "data.parquet", "nets.residual", "gans.residual", "gans.augmentation",
    "metrics.imagenet",
)  # fmt: skip
LAUNCHES = (  # starts processes that meet, runs one after the other, or programs by name
    "launch", "launch_agent", "replicas.launcher", "replicas.rendezvous", "replicas.cluster", "sweep", "trials",
    "cli", "__main__",
)  # fmt: skip


def test_the_package_is_no_larger_than_a_person_can_read() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    widens = sum(number for module, number in lines.items() if module.startswith(WIDENS))
    hands_over = sum(number for module, number in lines.items() if module.startswith(HANDS_OVER))
    looks = sum(n for module, n in lines.items() if module.startswith(LOOKS) and module not in (*WIDENS, *HANDS_OVER))
    launches = sum(number for module, number in lines.items() if module in LAUNCHES)
    assert widens < 1_300
    assert looks < 3_700
    assert hands_over < 800
    assert launches < 1_060
    assert sum(lines.values()) - looks - hands_over - widens - launches < 7_400
    assert max(lines.values()) <= 300, max(lines, key=lambda module: lines[module])


def test_no_module_imports_more_than_fifteen_others() -> None:
    assert {module: len(found) for module in MODULES if len(found := _imports(MODULES[module])) > 15} == {}


def test_one_function_is_long_and_it_is_the_loop() -> None:
    long = [
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - _first_line(node) >= 40
    ]
    assert long == ["training.loop._loop"]


def _first_line(function: ast.FunctionDef) -> int:
    """The first line after the docstring."""
    return function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0].lineno
