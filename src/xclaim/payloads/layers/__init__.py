"""What is done to an encoded payload before it is stored: compression, encryption."""
