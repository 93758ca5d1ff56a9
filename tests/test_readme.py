"""docs/flags.md is what the program has; the README is short."""

from pathlib import Path

from distgan.config.config import gan_options, options
from distgan.gans.registry import GANS

ROOT = Path(__file__).parent.parent
HEAD = """# Flags

Flags of `python -m distgan.train`; `--helpfull --preset=NAME` prints those of a preset. Give at most one of `--epochs`
and `--steps`. A cadence is a number and its unit, such as `15epochs`, `5000steps` or `10min`. A switch is turned off by
`--mirror=false`. The config of a run is stored in its `config.json`; `--config=FILE` repeats it, and flags override it.
A run may be resumed with other values of the flags that are marked *. The defaults are those of `--preset=mnist`.
`--dry_run` and `--validate_data` train nothing and are not part of a config: see the [quick start](quickstart.md).
"""


def flags_page() -> str:
    """docs/flags.md: a table for each section, with each flag's default, allowed values, meaning and GANs."""
    parts, declared = [HEAD], options().values()
    used = {architecture: gan_options(architecture) for architecture in GANS}
    for section in dict.fromkeys(option.section for option in declared):
        of_gans = section == "Networks and losses"
        parts.append(f"\n## {section}\n\n| flag | default | allowed | |{' used by |' * of_gans}")
        parts.append("|---|---|---|---|" + "---|" * of_gans)
        for option in declared:
            if option.section == section:
                default = "" if option.default is None else f"`{option.default}`"
                limits = option.allowed.removeprefix("one of ") if option.is_limited else ""
                by = " ".join(f"`{name}`" for name in GANS if option.name in used[name])
                row = f"| `--{option.name}`{'*' * option.may_change} | {default} | {limits} | {option.help} |"
                parts.append(row + (f" {'all' if by.count('`') == 2 * len(GANS) else by} |" if of_gans else ""))
    return "\n".join(parts) + "\n"


def test_the_page_of_flags_lists_every_flag_as_it_is() -> None:
    assert (ROOT / "docs" / "flags.md").read_text() == flags_page(), f"write into docs/flags.md:\n{flags_page()}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170
