"""Configuration as data: documents with positions, findings, watched files."""
