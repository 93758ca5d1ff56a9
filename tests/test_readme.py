"""The README's table of flags is the program's."""

from pathlib import Path

from distgan.config.config import options

README = Path(__file__).parent.parent / "README.md"


def flags_table() -> str:
    """One row an option: its name, default, what it allows and what it is."""
    rows = ["| flag | default | allowed | |", "|---|---|---|---|"]
    for name, option in options().items():
        default = "" if option.default is None else f"`{option.default}`"
        limits = option.allowed.removeprefix("one of ") if option.is_limited else ""
        rows.append(f"| `--{name}` | {default} | {limits} | {option.help} |")
    return "\n".join(rows)


def test_the_readme_lists_every_flag_as_it_is() -> None:
    assert flags_table() in README.read_text(), f"put this table into README.md:\n{flags_table()}"
