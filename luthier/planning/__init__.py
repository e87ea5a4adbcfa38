"""Before training: what it takes, how long, and what is wrong. Nothing is trained here."""
