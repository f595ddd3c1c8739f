"""Studies: arms, seeds and a ladder, each cell an ordinary run; and what may be concluded from them."""
