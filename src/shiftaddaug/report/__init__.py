"""Results, curves, tables and loggers, from recorded values."""
