"""``python tests/slowed.py run ...``: the command line, which decodes 64 spheres in 0.1 s at least, and writes them.

A process that can be interrupted halfway, on any machine. Not a test.
"""

import os
import sys
import time

from fastsl import compiled, general, search
from fastsl.checkpoints import recorder
from fastsl.cli import main
from fastsl.compiled import CompiledEngine
from fastsl.general import GeneralEngine

SPHERES = 64
SECONDS = float(os.environ.get("SLOWED_SECONDS", "0.1"))

if __name__ == "__main__":
    recorder.SECONDS_A_FILE = 0.0
    compiled.FIRST_BLOCK = general.FIRST_BLOCK = search.LARGEST_BLOCK = SPHERES
    compiled.SECONDS_A_BLOCK = GeneralEngine.seconds_a_block = 1e9
    for engine in (CompiledEngine, GeneralEngine):

        def slow(self, neighbours, quick=engine.__call__):
            time.sleep(SECONDS)
            return quick(self, neighbours)

        engine.__call__ = slow
    sys.exit(main(sys.argv[1:]))
