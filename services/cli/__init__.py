"""The command ``abel``: thin skins over the verbs, and what they print."""
