"""From bytes to configuration: bounded parsers, Spring's order of property sources, and one nested document. Pure."""
