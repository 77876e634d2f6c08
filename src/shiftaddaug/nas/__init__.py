"""Architecture search: spaces of networks, and which of them to search."""
