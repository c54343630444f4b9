"""What was planned a moment ago, and is not to be done after all."""


class Deferred(Exception):  # noqa: N818  (it is no error: the world has moved on, and the next plan takes that in)
    """An action that was not done because things are no longer as they were when it was planned, or not yet as it needs them."""
