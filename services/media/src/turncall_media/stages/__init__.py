"""What the vendors of each stage share: the shapes they fill, their connections, their waiting."""
