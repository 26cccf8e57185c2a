"""Tables in the documentation, which nobody types: each has a begin and an end marker."""


def write_between_markers(path, text, name="bench"):
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if begin not in path.read_text():
        raise SystemExit(f"{path} has no {begin}")
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def publish(text, path, name="bench"):
    """Print a table, and write it between the markers of ``path`` where that is given."""
    print(text)
    if path:
        write_between_markers(path, text, name)
