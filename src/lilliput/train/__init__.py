"""Training: on the host, with exactly the arithmetic of the device (extra `torch`)."""
