"""What a search writes on its way, and what goes on from it: blocks on disk, shards, and who works on them.

``shards`` numbers the parts of a search, ``fingerprint`` tells one search from another, ``blocks`` are files of decoded
spheres, ``manifest`` is what a folder says of itself, ``lock`` who works in it, ``recorder`` puts them together.
"""
