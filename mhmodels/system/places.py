"""Folders for files of this user. `MHMODELS_HOME` moves all of them into one folder."""

from __future__ import annotations

import os
from pathlib import Path


def data_path() -> Path:
    """Returns the folder of data to keep: `$MHMODELS_HOME`, else the platform's user data folder. It is not created here."""
    home = os.environ.get("MHMODELS_HOME")
    if home:
        return Path(home).expanduser()
    from platformdirs import user_data_path

    return user_data_path("mhmodels", appauthor=False)


def cache_path() -> Path:
    """Returns the folder of data that can be made again: `$MHMODELS_HOME/cache`, else the platform's user cache folder."""
    home = os.environ.get("MHMODELS_HOME")
    if home:
        return Path(home).expanduser() / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("mhmodels", appauthor=False)
