"""`python -m cli` is `signatlas`."""

from cli.main import main

if __name__ == "__main__":
    main()
