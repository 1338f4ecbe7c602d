"""The features engine."""
