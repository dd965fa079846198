"""Spring's ciphers for values that begin with `{cipher}`: decrypts configuration, and encrypts for its authors. Pure except files.py.

ciphers.py    `Encryptor`s, which encrypt and decrypt text with one key
prefixes.py   the prefixes of a text that select a key
keys.py       the keys that are configured
pkcs12.py     the keys of a key store
values.py     the encrypted values of one property source
decryptor.py  the encrypted values of all sources; each ciphertext is decrypted once
files.py      the files that [encryption] names; the only module here that accesses the file system
"""
