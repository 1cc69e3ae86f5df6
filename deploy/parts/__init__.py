"""Code that the deploy commands share; it imports none of the commands."""
