"""One file is one exporter: `export`, `reload`, LIBRARY and USE."""
