"""Compiled code: plain arrays in, plain arrays out. No validation, no printing, no images."""
