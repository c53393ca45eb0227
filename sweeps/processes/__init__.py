"""The processes around a sweep: the driver's supervisor, the messages between the two, and cleanup after them."""

# Short processes make many objects, most of them while they import, and free few. At Python's 700, looking for cycles takes a
# tenth of a command and an eighth of an answer.
OBJECTS_PER_COLLECTION = 100_000
