"""Moving a host pool to an image version: observe, plan, act, again."""
