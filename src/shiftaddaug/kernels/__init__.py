"""How an operation is computed: one folder each, whose `naive.py` is law; faster paths share its signatures."""
