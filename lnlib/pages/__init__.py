"""What only the book's notebooks import: the look of figures, drawings, the map of topics."""
