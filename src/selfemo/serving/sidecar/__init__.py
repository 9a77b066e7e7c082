"""``selfemo collect``: stands before a server that has OpenAI's routes, and keeps what its clients agree to."""
