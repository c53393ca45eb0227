"""What the tasks on texts have in common: how files are read, and vocabularies of SentencePiece."""
