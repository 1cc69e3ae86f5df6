"""The client's side: upload videos, grade a run, report on it. Works on AWS and the local AWS."""
