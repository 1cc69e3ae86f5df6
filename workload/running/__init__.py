"""What generating a run is made of: videos, uploads, answers, and the run that they make."""
