"""Rows to predictions, predictions to scores."""
