"""The processes around a sweep: the driver's supervisor, the messages between the two, and cleanup after them."""
