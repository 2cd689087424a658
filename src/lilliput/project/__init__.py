"""Whole projects around a program: what boots, and what other build systems take in.

    learning     of programs that learn: rounds, a flash to save to, a test
    self_test    one input, and the output that it must give, as C
    bare_metal   start-up, linker script, serial port, Makefile, CMake
    arduino      the same program as an Arduino library
    zephyr       ... and as a Zephyr module
    flash        building a bare-metal project and writing it to a board

One idea: the emitted C is taken as it is, and everything around it is data of the board put into
templates; start-up code and linker script are those that the emulated proofs run with.  It does not
plan or emit, and a folder on disk is written elsewhere (`lilliput.compiler.folder`).
"""

from lilliput.project.layout import KINDS, Kind, Project, project, require_start
from lilliput.project.learning import learn_test, learner, learning_files, library_sources
from lilliput.project.self_test import SelfTest, self_test_callbacks

__all__ = [
    "KINDS",
    "Kind",
    "Project",
    "SelfTest",
    "learn_test",
    "learner",
    "learning_files",
    "library_sources",
    "project",
    "require_start",
    "self_test_callbacks",
]
