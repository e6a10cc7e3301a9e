"""``python -m groundwatch``."""

from groundwatch.cli import main

if __name__ == "__main__":
    main()
