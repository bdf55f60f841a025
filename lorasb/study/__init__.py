"""What a study stands for: its cells, their settings, and hashes of what they depend on."""
