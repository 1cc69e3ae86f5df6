"""AWS on one machine: moto's server, plus real execution of Lambda functions."""
