"""The history of the database's tables. One file in `versions` for each change, named `vNNNN_what.py`."""
