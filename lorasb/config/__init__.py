"""YAML files to checked mappings; knows no study's meaning."""
