"""One file per method; `lorasb.methods.registry` knows them by name."""
