"""What only the book's notebooks import: the look of figures and tables, the map of topics."""
