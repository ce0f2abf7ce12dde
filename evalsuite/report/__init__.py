"""How results look: one style for every figure, and the page that joins them."""
