"""The verbs on plug-ins: what is installed, and a package to start one's own from."""
