"""Base models: their description, their weights, their adapted layers."""
