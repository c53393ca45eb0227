"""The paper's claims: a sweep's evidence for each, and the rule that decides."""
