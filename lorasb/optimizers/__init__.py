"""Optimisers that torch lacks; a method returns one from its `optimizer`."""
