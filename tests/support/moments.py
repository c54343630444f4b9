"""The moment at which virtual time begins in tests."""

from datetime import UTC, datetime

EPOCH = datetime(2026, 11, 12, 20, tzinfo=UTC)
