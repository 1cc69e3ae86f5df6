"""The client's side: upload videos, check a run, report on it. For AWS and the local AWS alike."""
