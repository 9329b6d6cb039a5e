"""A storm: clients write through the API while the control plane is killed at random points, and what must hold after."""
