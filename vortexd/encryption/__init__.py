"""Spring's ciphers, as values hold them behind `{cipher}`: read where configuration is resolved, written for those who write it. Pure but for files.py.

ciphers.py    `Encryptor`s, which turn text into ciphertext and back under one key
prefixes.py   what stands before a text and says which key is meant
keys.py       which keys there are
pkcs12.py     the keys of a key store
values.py     the encrypted values of one property source
decryptor.py  those of all sources, each ciphertext decrypted once
files.py      the files that [encryption] names; the only one that touches the file system
"""
