"""The two answers that are not a person's name, as clients read them from the output bucket.

`face-recognition/gallery.py` writes them and has its own copy, as Lambdas import nothing from here.
"""

from __future__ import annotations

UNKNOWN = "Unknown"  # there are faces, but none of a known person
NO_FACE = "No face"
