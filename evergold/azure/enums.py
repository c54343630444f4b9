"""The SDKs' enumerations as text: a value that an SDK does not know yet comes as text already, and one that Azure left out as None."""


def text_of(value: object) -> str:
    """An enumeration's value, or text, as text; "" for None."""
    return str(getattr(value, "value", value) or "")
