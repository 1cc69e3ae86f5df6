"""Deploy commands: each creates or updates one thing and can be run again at any time."""
