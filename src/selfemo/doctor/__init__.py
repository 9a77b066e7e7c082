"""What this machine has, what will be chosen on it, and what a configuration needs that is not here."""

from selfemo.doctor.examine import examine
from selfemo.doctor.findings import Findings, Missing, ServerFinding

__all__ = ["Findings", "Missing", "ServerFinding", "examine"]
