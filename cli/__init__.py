"""The command line: one file a command group; each command parses, calls and prints."""
