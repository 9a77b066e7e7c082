"""Runs as their records have them: which there are, what each came to, how two differ, how one goes on."""
