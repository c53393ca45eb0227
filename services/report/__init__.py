"""The report: figures, findings and tables on one self-contained page, and the numbers as files."""
