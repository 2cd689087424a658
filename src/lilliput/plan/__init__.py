"""From a module to a program: selection, layout, streaming, offsets, and their certificate."""
