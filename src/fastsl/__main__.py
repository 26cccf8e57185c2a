"""``python -m fastsl``."""

import sys

from fastsl.cli import main

sys.exit(main())
