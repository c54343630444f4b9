"""What flows are made of: one retryable step each, named as the UI shows it."""
