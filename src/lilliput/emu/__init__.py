"""Compilers, emulated cores, and exact counts.

`toolchain` finds compilers and links images, `elf` reads them, `instructions` proves statements
about their code, `machine` runs them on the host, under Unicorn or under QEMU.  Nothing here
knows a model: it serves whatever describes itself with `csrc/harness.h`.
"""
