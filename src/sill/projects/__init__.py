"""A whole project as declared by its owner: made so, and kept so."""
