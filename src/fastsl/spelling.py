"""What somebody may have meant by a name that is not known."""

import difflib
from collections.abc import Iterable


def meant(given: str, known: Iterable[str], most: int = 3) -> str:
    """Names that hold ``given`` or look like it, in brackets, for a message; empty where there are none.

    Examples
    --------
    >>> meant("acc", ["accuracy", "balanced_accuracy", "r2"])
    " (did you mean 'accuracy', 'balanced_accuracy'?)"
    >>> meant("nothing like it", ["r2"])
    ''
    """
    by_lower = {name.lower(): name for name in known}
    wanted = given.lower()
    holding = sorted(
        (name for name in by_lower if wanted and wanted in name), key=lambda name: (name.find(wanted), name)
    )
    close = difflib.get_close_matches(wanted, by_lower, most)
    found = list(dict.fromkeys([*holding, *close]))[:most]
    return f" (did you mean {', '.join(repr(by_lower[name]) for name in found)}?)" if found else ""
