"""Print pip constraints that pin every dependency to the lower bound that pyproject.toml gives it."""

import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text()
block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
if block is None:
    raise SystemExit("no dependencies in pyproject.toml")
pins = re.findall(r'"([A-Za-z0-9_.-]+)>=([0-9.]+)"', block.group(1))
if len(pins) != block.group(1).count('"') // 2:
    raise SystemExit("every dependency needs a lower bound, name>=version, to be tested at it")
for name, version in pins:
    # 1.24 means the series: its first patch release may not build any more.
    print(f"{name}~={version}.0" if version.count(".") == 1 else f"{name}=={version}")
