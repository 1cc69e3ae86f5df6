"""The keys of output objects, and how metadata stores a key. Uses only the standard library."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote

# S3 allows 2,048 bytes for all user metadata of an object, and a percent-encoded key can take
# 3,072. A test compares this with video-splitting/store.py.
MAX_KEY_BYTES = 768


def output_key(frame_key: str) -> str:
    """`a/test_00.jpg` -> `a/test_00.txt`; other extensions stay: `x.png` -> `x.png.txt`."""
    return frame_key.removesuffix(".jpg") + ".txt"


def key_as_metadata(key: str) -> str:
    """The key in ASCII: percent-encoded, or `sha256:` and its hash if that is too long."""
    encoded = quote(key)
    if len(encoded) <= MAX_KEY_BYTES:
        return encoded
    return f"sha256:{sha256(key.encode()).hexdigest()}"
