"""The dense engine."""
