"""Pictures and pages from arrays; nothing here computes semantics."""
