"""A policy behind HTTP: OpenAI's chat completions, and the emotions of a dialogue."""
