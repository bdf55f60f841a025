"""What PEFT has, by a YAML file alone, and two repairs."""
