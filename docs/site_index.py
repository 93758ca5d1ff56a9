"""The first page of the documentation site: README.md, its links as seen from docs/."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Add README.md as index.md; MkDocs calls this with the files of the site."""
    text = Path(config.config_file_path).with_name("README.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files
