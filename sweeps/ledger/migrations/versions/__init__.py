"""One module per revision, numbered like the schema version it creates."""
