"""Spring's ciphers, as values hold them behind `{cipher}`: `Encryptor`s that turn text into ciphertext and back. Pure."""
