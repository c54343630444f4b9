"""Whole refreshes on a real Prefect server, with a real worker, against the simulated Azure over TLS."""
