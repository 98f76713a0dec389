"""Documents: from bytes that somebody uploaded to text with its headings and pages, read in a process of its own."""
