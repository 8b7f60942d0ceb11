"""The file that makes a folder of code a model: which function of which file it is."""

MARK = "function.json"
