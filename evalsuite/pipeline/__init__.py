"""The roof: runs analyses over tables and writes what they give; may import every room."""
