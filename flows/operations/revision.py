"""A configuration and its SELECTs as a git revision has them, in a folder that is gone
afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.config import Config
from schemas.errors import ConfigurationError
from schemas.load_config import load_config


@contextmanager
def open_revision(config: Config, revision: str) -> Iterator[Config]:
    """The same configuration file at a revision, with the SELECTs of then; databases are found from
    the folder of now.

    Raises ConfigurationError where git does not know the revision or had no such file then.
    """
    if config.file is None:
        raise ConfigurationError(
            "a configuration that was not read from a file has no git revision"
        )
    with tempfile.TemporaryDirectory(prefix="essentry-sync-revision-") as folder:
        file = Path(folder) / config.file.name
        file.write_bytes(_show(config.file, revision, root=config.root))
        try:
            then = load_config(file)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"git:{revision}: {str(error).replace(str(file), config.file.name)}"
            ) from None
        sources = {}
        for name, entry in then.sources.items():
            found = {}
            for key in ("events_sql", "guests_sql"):
                path: Path | None = getattr(entry, key)
                if path is not None:
                    found[key] = Path(folder) / f"{name}.{key}"
                    found[key].write_bytes(_show(config.root / path, revision, root=config.root))
            sources[name] = entry.model_copy(update=found)
        yield then.model_copy(update={"root": config.root, "file": None, "sources": sources})


def _show(path: Path, revision: str, *, root: Path) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise ConfigurationError(
            "git is not installed here: check the other revision out, and name its configuration "
            "with --against"
        )
    if not revision or revision.startswith("-") or ":" in revision:
        raise ConfigurationError(
            f"git:{revision} names no revision: write git:main, or git: and a commit"
        )
    relative = Path(os.path.relpath(path, root)).as_posix()
    place = relative if relative.startswith("../") else f"./{relative}"
    # no shell, and a revision is no option
    command = [git, "-C", str(root), "show", f"{revision}:{place}"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["git failed"])[
            0
        ].removeprefix("fatal: ")
        raise ConfigurationError(
            f"git:{revision} has no {relative} ({said[:200]}): correct the revision, or fetch it"
        )
    return done.stdout
