"""The parts of a run: videos, uploads, answers, and the file that records them."""
