"""``python -m selfemo``."""

from selfemo.cli import main

main()
