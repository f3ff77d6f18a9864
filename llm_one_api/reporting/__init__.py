"""How figures are asked for and how they are laid out: the same for pages, the terminal and files."""
