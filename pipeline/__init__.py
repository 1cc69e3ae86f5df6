"""Code that the scripts share: names and settings, access to AWS, command-line options."""
