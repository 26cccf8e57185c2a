"""Labels of volumes from a table: tab- or comma-separated, one row a volume, names in the first row."""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class LabelTable:
    """Columns of a label file, as text."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"--labels: there is no file {self.path}.")
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (UnicodeDecodeError, OSError) as error:
            raise ValueError(f"--labels: {self.path} cannot be read as a table in UTF-8 ({error}).") from error
        first = text.partition("\n")[0]
        delimiter = "\t" if "\t" in first else ","
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
        if len(rows) < 2:
            raise ValueError(f"--labels: {self.path} has no rows below its header.")
        self.header = [name.strip() for name in rows[0]]
        for number, row in enumerate(rows[1:], start=2):
            if len(row) != len(self.header):
                raise ValueError(
                    f"--labels: row {number} of {self.path} has {len(row)} fields, the header has {len(self.header)}."
                )
        self._rows = rows[1:]

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, name: str, option: str) -> NDArray[np.str_]:
        """Return one column; ``option`` is named in the error when it does not exist."""
        if name not in self.header:
            raise ValueError(f"{option}: {self.path} has no column {name!r}; it has: {', '.join(self.header)}.")
        place = self.header.index(name)
        return np.array([row[place].strip() for row in self._rows])


def as_numbers(column: NDArray[np.str_], what: str) -> NDArray[np.float64]:
    """Turn text into the numbers that a regressor needs."""
    try:
        return column.astype(np.float64)
    except ValueError as error:
        raise ValueError(f"{what} must hold numbers for a regressor ({error}).") from error
