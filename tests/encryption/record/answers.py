"""Records the responses of a Spring Cloud Config Server to /encrypt and /decrypt in ../answers.json. Run it by hand.

    python answers.py URL_AES URL_STORE

The arguments are two servers (5.0). The first one has encrypt.key=foo. The second one has
encrypt.key-store.{location=../keys.p12,password=storepass,alias=first}. keytool has made the store with two calls of
-genkeypair -keyalg RSA -keysize 2048 -storetype PKCS12, with -alias First and -alias second.
"""

import json
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

FORM = "application/x-www-form-urlencoded"
TEXT = "text/plain"
TYPES = (FORM, FORM + ";charset=UTF-8", "application/json", TEXT, "application/octet-stream", "text/html")
TEXTS = (
    *(
        "foo",
        "foo bar",
        "foo+bar%21",
        "a=b",
        "a%21=b",
        "a b=c d",
        "p&q",
        "p&q=",
        "a=",
        "a==",
        "=a",
        "=",
        "==",
        "&",
        "a&&b",
    ),
    *(
        "a=1&a=2",
        "a=1&b=2&a=3",
        "ü=",
        "ü",
        "%C3%BC",
        "a b&c=",
        "100%25",
        "a/b",
        "a*b-_.~",
        "a~=b",
        "é&=",
        "a;b",
        "\n",
        "foo\n",
    ),
    *("x=\n", "a%00b", "a\tb", "+", "%", "a%zz", "%zz=1", "a=%zz", "%zz=", "{key:a}x", "{key:a}x y=", "{plain}{a:b}="),
    *("{plain}{key:a}x", "{key:a}{plain}{b:c}x", "{name:n}{profiles:p}{z:1}{key:}{q}x", "{z:1}{key:}{q}x", "{q}{a:b}x"),
    *('{"a": 1}', "x{key:y}", " {key:a}x", "a}b", "{a:b", "x}{a:b}y", "{a:b}\n{c:d}e", "{a\n:b}e", "{name:a}b}c"),
    *("b{profiles:x}{k:v}c", "{name:a\n{name:b}c", "{a:b}{c:d}", "{:a}b", "{}{a:b}c", "{a::b}c", "{a:b}}c"),
)


def ask(url: str, body: str, content_type: str) -> tuple[int, str]:
    try:
        with urlopen(Request(url, body.encode(), {"Content-Type": content_type})) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def encryptions(url: str) -> list[object]:
    found: list[object] = []
    for content_type in TYPES:
        for text in TEXTS:
            status, cipher = ask(f"{url}/encrypt", text, content_type)
            if status == 200:
                _, plain = ask(f"{url}/decrypt", cipher, TEXT)
                found.append([content_type, text, status, plain, cipher[: cipher.rfind("}") + 1]])
            else:
                found.append([content_type, text, status, None, None])
    return found


def decryptions(aes: str, store: str) -> list[object]:
    ciphers = [("aes", aes, "secret")] + [("store", store, "y" * count) for count in (0, 16, 32)]
    found: list[object] = []
    for name, url, plain in ciphers:
        # One for each padding of base64.
        _, cipher = ask(f"{url}/encrypt", plain or "{plain}", TEXT)
        forms = (cipher, quote(cipher, safe=""), "{key:first}" + cipher)
        for text in [each + end for each in forms for end in ("", "=")] + ["=" + cipher]:
            for content_type in (FORM, "application/json", TEXT):
                status, answer = ask(f"{url}/decrypt", text, content_type)
                found.append([name, content_type, text, status, answer if "timestamp" not in answer else None])
    for text in ("{key:second}", "{key:SECOND}{secret:storepass}"):
        _, cipher = ask(f"{store}/encrypt", text + "mine", TEXT)
        found.append(["store", TEXT, cipher, *ask(f"{store}/decrypt", cipher, TEXT)])
        wrong = cipher.replace("second", "nobody").replace("SECOND", "nobody")
        found.append(["store", TEXT, wrong, *ask(f"{store}/decrypt", wrong, TEXT)])
    return found


def main(aes: str, store: str) -> None:
    with urlopen(f"{store}/key") as answer:
        key = answer.read().decode()
    recorded = {"encrypt": encryptions(aes), "decrypt": decryptions(aes, store), "key": key}
    path = Path(__file__).parent.parent / "answers.json"
    path.write_text(json.dumps(recorded, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
