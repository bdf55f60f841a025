"""One file per method; `lorasb.registry` knows them by name."""
