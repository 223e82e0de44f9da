"""Asks for a world once for each argument, VARIABLE=VALUE for the environment; prints why it gets none, a line each."""

from __future__ import annotations

import os
import sys

from tests.mpi.world import World, WorldError

if __name__ == "__main__":
    for setting in sys.argv[1:]:
        variable, _, value = setting.partition("=")
        os.environ[variable] = value
        try:
            World()
        except WorldError as error:
            print(f"{setting}: {' '.join(str(error).split())}", flush=True)
        else:
            raise AssertionError(f"{setting} is not refused")
        del os.environ[variable]
