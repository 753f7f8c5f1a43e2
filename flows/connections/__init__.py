"""How anything outside is reached: secrets, URLs, bulk readers of databases."""
