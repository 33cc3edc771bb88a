"""What the paper invents: passport layers, their surgery, passports, and the claim that keeps them."""
