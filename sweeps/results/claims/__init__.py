"""The paper's claims: what a sweep shows of each, and the rule that decides."""
