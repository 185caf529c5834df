"""The pages, one module per noun. Each has a `router`."""
