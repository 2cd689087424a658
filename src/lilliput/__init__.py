"""Lilliput: a trained network becomes C firmware for a microcontroller, proven bit for bit."""

__version__ = "0.1.0"
