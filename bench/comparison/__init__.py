"""The parts of compare.py in the order of its work, engines to plot; common.py is load.py's too."""
