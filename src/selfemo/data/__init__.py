"""What goes in: label spaces, dialogues, the records that travel between steps, seeds, and the corpora."""
