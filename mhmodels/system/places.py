"""Where files of this user live; `MHMODELS_HOME` moves all of them into one folder."""

from __future__ import annotations

import os
from pathlib import Path


def data_path() -> Path:
    """Folder of what must be kept: `$MHMODELS_HOME`, else the platform's user data folder. Not created here."""
    home = os.environ.get("MHMODELS_HOME")
    if home:
        return Path(home).expanduser()
    from platformdirs import user_data_path

    return user_data_path("mhmodels", appauthor=False)


def cache_path() -> Path:
    """Folder of what can be made again: `$MHMODELS_HOME/cache`, else the platform's user cache folder. Not created here."""
    home = os.environ.get("MHMODELS_HOME")
    if home:
        return Path(home).expanduser() / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("mhmodels", appauthor=False)
