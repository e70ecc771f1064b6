"""What colluding accounts do, and weighing users against them."""
