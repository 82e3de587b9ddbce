"""What builds, checks, searches and prints the book."""
