"""Fuzzing of everything that reads a file: see docs/fuzzing.md.

One idea: any bytes are either refused in words or are a graph that every later stage takes.

    judge      bytes -> how far they got; anything else is a fault        `judge.py`
    limits     the time and memory that one input may take                `limits.py`
    seeds      small sound files, a few for each operator                 `seeds.py`
    mutate     a sound file -> one with something odd in it               `mutate.py`, `text.py`
    session    inputs tried, faults kept, one line a minute               `session.py`
    corpus/    what has gone wrong once; `tests/test_fuzz.py` runs it again

`python -m tests.fuzz` runs it for as long as it is told.  Nothing is imported here: a
coverage-guided run has to see the package being imported.
"""
