"""Figures, one a file: `draw(folder)` makes one of what a run, a study or a fit has recorded in its folder.

A figure is a function of files alone, and None where its files are not there. `report/drawing.py` asks every figure of
this folder, and of the same folder of plugins, saves `<file's name>.png`, and hands it to loggers. Figures are made of
`matplotlib.figure.Figure`, without pyplot: it needs no display and keeps nothing open. They import matplotlib when
there is something to draw, and never torch.
"""
