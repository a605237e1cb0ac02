"""What counts as a name: of a user, an event, a location."""

MAX_NAME_BYTES = 1024
"""The longest name, in bytes of UTF-8. A longer one is a mistake."""


def check_name(value: object, what: str) -> str:
    """A str of 1 to 1,024 bytes, or an error that names the argument.

    Any character will do, NUL and lone surrogates (three bytes each) included. Names are compared
    character by character: two Unicode forms of the same word are two names.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, got {type(value).__name__} {value!r:.60}")
    if not value:
        raise ValueError(f"{what} must not be empty")
    # A character takes one to four bytes: most names need no encoding to see that they fit.
    if len(value) > MAX_NAME_BYTES // 4 and (
        len(value) > MAX_NAME_BYTES or len(value.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES
    ):
        raise ValueError(
            f"{what} must be at most {MAX_NAME_BYTES} bytes of UTF-8, got {len(value)} characters: {value[:20]!r}..."
        )
    return value
