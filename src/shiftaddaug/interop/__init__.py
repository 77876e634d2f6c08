"""Our nets for other libraries. Nothing of the package imports this folder: whoever wants it does."""
