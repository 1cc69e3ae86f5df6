"""The parts of the grader: what it reads from AWS, and the checks it makes."""
