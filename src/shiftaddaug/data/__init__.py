"""Data: LightningDataModules that choose the task, and the checks that need no torch.

Importing this package imports nothing heavy; each module says what it needs.
"""
