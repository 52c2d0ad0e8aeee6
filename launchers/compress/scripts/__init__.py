"""Programs for the environments of the tools: nothing here is imported by this package."""
