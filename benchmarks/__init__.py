"""Measurements: `python -m benchmarks` for whole networks, `python -m benchmarks.fit` for kernels.

Everything measured here is deterministic on an emulator, so that results can be committed and
compared exactly.  Not here: milliseconds, which only a board can give.
"""
