"""Sample people and videos, made from photos in pinned packages, and the local demo."""
