"""The service over HTTP: a thin skin over :mod:`services.server.desk`."""
