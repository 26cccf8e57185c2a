"""Run the examples of Markdown files: ``python docs/run_examples.py README.md docs/*.md``.

Python blocks of a file run in order, in one namespace and one empty folder; where a ``text`` block follows, it must be
what was printed (``...`` stands for anything). Bash blocks run in the same folder. A block after the comment
``<!-- not run: why -->`` is left out.
"""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"(?P<skip><!-- not run: [^>]*-->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)


def run_file(path: Path) -> list[str]:
    """Run the blocks of one file in an empty folder; return what went wrong."""
    problems = []
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed = None
    for block in BLOCK.finditer(path.read_text()):
        code, language = block["code"], block["language"]
        if language == "text":
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            if printed is not None and not doctest.OutputChecker().check_output(code, printed, flags):
                problems.append(f"{path}: printed\n{printed}\nbut the document says\n{code}")
            printed = None
        elif block["skip"]:
            printed = None
        elif language == "python":
            buffer = io.StringIO()
            with contextlib.redirect_stdout(buffer):
                exec(compile(code, str(path), "exec"), namespace)
            printed = buffer.getvalue()
        elif language == "bash":
            done = subprocess.run(["bash", "-euc", code], capture_output=True, text=True, check=False)
            printed = done.stdout
            if done.returncode != 0:
                problems.append(f"{path}: exit status {done.returncode} of\n{code}\n{done.stdout}{done.stderr}")
    return problems


def main(files: list[str]) -> int:
    problems, home = [], os.getcwd()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for file in map(Path, files):
        source = home / file
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            found = run_file(source)
            os.chdir(home)
        print(f"{file}: {'failed' if found else 'ok'}")
        problems += found
    print(*problems, sep="\n\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
