"""The whole system under faults: the real engine and the real clients against a simulated Azure on its worst days."""
