"""Passes: a pass is a value that takes a module and gives a module of the same meaning."""
