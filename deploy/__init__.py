"""One script, one thing: each creates or updates its part and can be run again at any time."""
