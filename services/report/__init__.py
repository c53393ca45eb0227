"""The report: figures, sentences and tables on one self-contained page, and the numbers as files."""
