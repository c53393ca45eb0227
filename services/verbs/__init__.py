"""The verbs: each checks its input, does one thing, and returns a frozen value. CLI, API and notebooks are skins over them."""
