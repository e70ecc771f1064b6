"""What an operator may ask of the other half."""
