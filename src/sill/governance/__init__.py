"""May this actor do this here, who did what, and where did it come from?"""
