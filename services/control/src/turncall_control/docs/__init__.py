"""The API reference, as a document and as pages that need nothing from the internet."""
