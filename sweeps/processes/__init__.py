"""The processes around a sweep: the driver's supervisor, what the two say to each other, and what cleans up after them."""
