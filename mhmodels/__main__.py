"""`python -m mhmodels`."""

import contextlib
import sys
from pathlib import Path

# `-m` puts the working directory first, where a file of the user such as `click.py` would hide an installed library.
with contextlib.suppress(FileNotFoundError):  # a working directory that was removed
    if sys.path and Path(sys.path[0] or ".").resolve() == Path.cwd() and not (Path.cwd() / "mhmodels" / "__main__.py").is_file():
        del sys.path[0]

from mhmodels.cli.main import main

main()
