"""AWS on one machine: moto's server, with Lambda functions really run by AWS's runtime client."""
