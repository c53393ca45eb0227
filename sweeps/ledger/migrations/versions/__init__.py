"""One module a revision, named and numbered as the schema version it makes."""
