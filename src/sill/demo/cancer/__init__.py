"""Breast-cancer measurements from two clinics: tabular data, three families of models, a drifting instrument."""
