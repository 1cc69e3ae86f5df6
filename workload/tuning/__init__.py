"""What the tuner is made of: a function's memory, the trials, and what they say."""
