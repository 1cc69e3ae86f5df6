"""Sample people and videos, made from photos that pinned packages carry."""
