"""The groups in which `--help` shows options, in their order."""

from cyclopts import Group

TARGET = Group("Target", sort_key=1)
LIMITS = Group("Limits", sort_key=2)
REDACTION = Group("Redaction", sort_key=3)
SERVICE = Group("Service", sort_key=4)
