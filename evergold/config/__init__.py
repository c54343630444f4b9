"""Image sets and environments: what people write in YAML, as validated plain data."""
