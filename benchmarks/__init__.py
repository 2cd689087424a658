"""Measurements: `python -m benchmarks` for whole networks, `python -m benchmarks.fit` for kernels.

    networks   what is measured, and in which ways
    results    results.json: written, read back, compared exactly
    document   docs/benchmarks.md and its picture, from the results
    seconds    what this machine takes, printed only

Everything that is kept is deterministic on an emulator, so that results can be committed and
compared exactly.  Not here: milliseconds, which only a board can give.
"""
