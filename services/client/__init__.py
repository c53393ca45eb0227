"""A typed client of the service, which the command line uses."""
