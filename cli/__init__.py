"""The command line: one file per command group; commands parse arguments, call functions and print results."""
