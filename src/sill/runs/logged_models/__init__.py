"""What runs read and made, in MLflow's words: datasets, inputs, outputs, and models logged with their own record."""
