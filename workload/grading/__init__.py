"""What grading a run is made of: the objects in the buckets, the metrics, and checks of both."""
