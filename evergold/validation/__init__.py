"""Validation: checks, their verdicts, and the evidence that an approval names."""
