"""Tables that the report shows as text."""
