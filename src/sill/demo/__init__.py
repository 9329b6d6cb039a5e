"""The demonstrations: whole loops on real data, told step by step. They are clients like any other."""
