"""Compression before serving: a tool makes another model of the source model, and that one is served.

spec.py         the `compress` part of a job spec
registry.py     which tools there are
tool.py         what a tool is to us; one module per tool beside it
cache.py        what was made before, found by the content of what it was made of
compression.py  planning one compression, and running it
scripts/        programs that run in a tool's own environment, started by their path
"""
