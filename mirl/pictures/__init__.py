"""What picture files hold, read without decoding them: whether a JPEG is whole, and which pictures a TIFF has."""
