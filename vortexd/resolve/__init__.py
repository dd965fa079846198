"""From bytes to configuration: formats within bounds, Spring's order of property sources, one nested document. Pure."""
