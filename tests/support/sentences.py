"""Sentences that a test holds to their figures and names, not word for word."""


def absent(sentence: str, *parts: str) -> list[str]:
    """The parts that a sentence does not have in this order."""
    found, start = [], 0
    for part in parts:
        place = sentence.find(part, start)
        if place < 0:
            found.append(part)
        else:
            start = place + len(part)
    return found
