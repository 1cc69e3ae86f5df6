"""What the scripts share: names and settings, the door to boto3, command-line options."""
